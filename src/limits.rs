//! Every number that bounds something, one line each: value, unit, and the clause, measurement or
//! reason behind it. A number that limits what a peer can cost stands here and nowhere else.

/// Bytes in one packet's Remaining Length at most: four bytes of seven bits [MQTT5 §1.5.5].
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// Bytes of the longest fixed header: one type byte and four of Remaining Length.
pub const FIXED_HEADER_BYTES_MAX: u32 = 5;

/// Bytes in one packet at most, by the protocol alone.
pub const PACKET_BYTES_MAX: u32 = REMAINING_LENGTH_MAX + FIXED_HEADER_BYTES_MAX;

/// Bytes in one packet at most by default, as mosquitto 2.1 has it (`max_packet_size`).
pub const PACKET_BYTES_MAX_DEFAULT: u32 = 2_000_000;

/// Bytes of the first packet, the CONNECT, whose sender is still a stranger; mosquitto 2.1's cap.
pub const CONNECT_BYTES_MAX: u32 = 100_000;

/// Bytes of a packet that is neither CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE nor AUTH: it holds a
/// Packet Identifier, a Reason Code and, in 5.0, a few properties; mosquitto 2.1's cap.
pub const SMALL_PACKET_BYTES_MAX: u32 = 10_000;

/// Topic levels in a Topic Name or Topic Filter; mosquitto's limit.
pub const TOPIC_LEVELS_MAX: usize = 200;

/// Bytes of CONNECT packets that wait for their passwords to be checked, before more are refused.
pub const LOGIN_BYTES_MAX: usize = 4 << 20;

/// Seconds a new connection has to send its whole CONNECT.
pub const CONNECT_WAIT_S: u64 = 30;

/// Seconds from the first bytes of a packet until all of it must be there, whatever the Keep Alive:
/// two million bytes come in that time by a modem. A client that has gone without a word in the
/// middle of one would hold what has come for ever.
pub const PACKET_WAIT_S: u64 = 3600;

/// QoS 1 and 2 messages in flight to one client by default (`max_inflight_messages`).
pub const INFLIGHT_MAX_DEFAULT: u16 = 20;

/// QoS 1 and 2 messages waiting in one session by default (`max_queued_messages`).
pub const QUEUED_MESSAGES_MAX_DEFAULT: u32 = 1000;

/// Topic Aliases a client may set, and a server sets, by default (`max_topic_alias`,
/// `max_topic_alias_broker`).
pub const TOPIC_ALIAS_MAX_DEFAULT: u16 = 10;

/// Seconds between two publications of `$SYS` by default (`sys_interval`).
pub const SYS_INTERVAL_S_DEFAULT: u16 = 10;

/// Bytes waiting for one socket beyond which QoS 0 messages to it are dropped and counted.
pub const WRITE_QUEUE_BYTES_MAX: usize = 1 << 20;

/// Bytes waiting for one socket at which they are written before any client is heard again, so that
/// one that reads loses nothing; what is left is for the other copies of the message that did it.
pub const FLUSH_AT_BYTES: usize = WRITE_QUEUE_BYTES_MAX / 2;

/// Bytes of its own (bodies that it shares with others left out) in one socket's write queue beyond
/// which nothing more is read from that socket: its client asks without reading the answers.
pub const READ_PAUSE_ABOVE_BYTES: usize = 2 << 20;

/// Bytes waiting for one socket below which more retained messages are replayed to it.
pub const REPLAY_BELOW_BYTES: usize = 64 << 10;

/// Nodes of the retained tree one session's replay may visit in one turn.
pub const REPLAY_STEPS_PER_SESSION_PER_TURN: usize = 1000;

/// Nodes of the retained tree that all replays together may visit in one turn.
pub const REPLAY_STEPS_PER_TURN: usize = 8 * REPLAY_STEPS_PER_SESSION_PER_TURN;

/// Nodes of the retained tree one turn may look at for expired messages.
pub const SWEEP_STEPS_PER_TURN: u32 = 1000;

/// Seconds between two sweeps for expired retained messages, at least.
pub const SWEEP_INTERVAL_S: u64 = 10;

/// Bodies (topic, properties, payload) up to this many bytes are copied into each receiver's write
/// queue; longer ones are shared between them.
pub const COPY_BELOW: usize = 1024;

/// Bytes of the longest packet that is relayed: written down as it came, and no message is made of it.
pub const RELAY_BYTES_MAX: usize = 16 << 10;

/// Receivers of a packet longer than [`COPY_BELOW`] that it is relayed to at most. Each that reads
/// slowly waits with a copy of its own; more of them share one message.
pub const LONG_RELAY_RECEIVERS: usize = 4;

/// Bytes of one coalesced chunk in a write queue, so that none grows without end.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Places that a list worked off once a turn keeps while it is empty: after a storm it gives the
/// rest back.
pub const TURN_LIST_PLACES: usize = 256;

/// Bytes of an emptied write buffer at most that is kept for the next queue that fills.
pub const SPARE_BUFFER_BYTES: usize = 4 << 10;

/// Bytes of all such buffers: enough for a thousand receivers of a short message.
pub const SPARE_BUFFERS_BYTES: usize = 64 << 10;

/// Bytes relayed after which they are sent before more is read: the processor has them at hand, and
/// what comes next is put into the same place.
pub const COMMON_BYTES_ENOUGH: usize = READ_SCRATCH_BYTES / 2;

/// Bytes kept for the packets that are relayed next: as many, and what one more read may bring.
pub const COMMON_BYTES_KEPT: usize = 2 * READ_SCRATCH_BYTES;

/// Buffers of that kind that are kept however few clients are left.
pub const SPARE_BUFFERS_LEFT: usize = 16;

/// Empty windows kept for the next sessions that a QoS 1 or 2 message is sent to.
pub const SPARE_FLIGHTS: usize = 16;

/// Places in a window beyond which it is not kept while it is empty.
pub const SPARE_FLIGHTS_PLACES: usize = 8;

/// Topics whose filters are remembered, so that the next message on them finds its receivers
/// without asking the tree; a power of two.
pub const ROUTES: usize = 256;

/// Bytes of a topic, and filters that match it, beyond which they are not remembered. With
/// [`ROUTES`] this bounds what is remembered to 150 KiB.
pub const ROUTE_TOPIC_BYTES: usize = 256;

/// See [`ROUTE_TOPIC_BYTES`].
pub const ROUTE_FILTERS: usize = 32;

/// Chunks handed to the kernel in one vectored write (Linux takes 1024; a stack array here).
pub const WRITE_VECTORS_MAX: usize = 64;

/// Bytes of the process-wide read scratch: what one read takes from a socket at most.
pub const READ_SCRATCH_BYTES: usize = 64 << 10;

/// Reads from one socket in one turn, after which it goes to the end of the *again* list.
pub const READS_PER_LINK_PER_TURN: usize = 4;

/// Bytes written to one socket in one turn, after which it goes to the *again* list.
pub const WRITE_BYTES_PER_LINK_PER_TURN: usize = 4 << 20;

/// Connections accepted from one listener in one turn.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Milliseconds accepting pauses when the process is out of file descriptors.
pub const ACCEPT_PAUSE_MS: u64 = 1000;

/// Readiness events taken from the kernel in one turn.
pub const EVENTS_PER_TURN: usize = 1024;

/// Bytes a closing connection may still have to flush before it is cut, and for how long.
pub const CLOSING_FLUSH_MS: u64 = 2000;

/// Bytes of a Reason String at most; the peer's own text may be quoted in one.
pub const REASON_STRING_BYTES_MAX: usize = 256;

/// Bytes still missing of a packet above which its sender is not silent, however slowly they come.
pub const SLOW_PACKET_BYTES: usize = 1000;

/// Bytes read from all sockets in one turn: half of [`WRITE_QUEUE_BYTES_MAX`], so that what many
/// publishers send at once does not overflow the queue of one subscriber before it is flushed.
pub const READ_BYTES_PER_TURN: usize = WRITE_QUEUE_BYTES_MAX / 2;

/// Deliveries, and nodes of the tree visited to find their receivers, after which no client is heard
/// any more in one turn: some 20 ms on a desktop machine. Filters that all match one topic make a
/// packet of 35 bytes cost as much.
pub const DELIVERIES_PER_TURN: usize = 1 << 16;

/// Seconds in which a line that peers can cause as often as they like is written once.
pub const NOTICE_INTERVAL_S: u64 = 60;

/// Such lines remembered at one time, to hold them back.
pub const NOTICES_MAX: usize = 64;

/// Takeovers of one session within [`NOTICE_INTERVAL_S`] that make a fight of it: the first may be
/// a client that comes back, and the second shows that its other self does, too.
pub const TAKEOVERS_MAX: u32 = 3;

/// Bytes of a line in the log at most, without its time; mosquitto's limit.
pub const LOG_LINE_BYTES_MAX: usize = 1000;

/// Iterations of PBKDF2 that a stored password hash may ask for; mosquitto writes 1000, go-auth
/// 100,000. This many take half a second on a desktop machine.
pub const PBKDF2_ITERATIONS_MAX: u32 = 1_000_000;

/// KiB of memory that an argon2id hash may ask for, taken while one password is checked: the
/// 64 MiB of RFC 9106's recommendation for small machines. mosquitto 2.1 writes 47,104.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 64 << 10;

/// Passes over that memory that an argon2id hash may ask for; mosquitto 2.1 writes 1.
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Lanes that an argon2id hash may ask for; mosquitto 2.1 writes 1, go-auth 2 or 4.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Bytes of salt, decoded, in the hash forms that leave its length open (argon2 needs 8).
pub const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// Bytes of hash, decoded, in the forms that leave its length open: a shorter one would be met by
/// chance, a longer one is in no file.
pub const PASSWORD_HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Errors reported for one password or ACL file, after which the rest of it is not reported.
pub const AUTH_FILE_ERRORS_MAX: usize = 100;

/// Connections the kernel holds for one listener until they are accepted.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Log lines kept for the topics below `$SYS/broker/log` until the next turn publishes them.
pub const LOG_TOPIC_LINES_MAX: usize = 100;

/// Seconds after which a log line on a topic has expired, as with mosquitto.
pub const LOG_LINE_EXPIRES_S: u64 = 20;

/// Ports that the command line takes at most, as with mosquitto.
pub const COMMAND_LINE_PORTS_MAX: usize = 10;

/// Log lines of one kind that are written within [`LOG_LINES_INTERVAL_MS`]; the rest of them is told
/// in one line. The clients of a large house that all come back at once are fewer.
pub const LOG_LINES_PER_KIND: u32 = 100;

/// Milliseconds in which log lines of one kind are counted.
pub const LOG_LINES_INTERVAL_MS: u64 = 1000;

/// Sixteenths of `memory_limit` from which on QoS 0 messages to slow readers are dropped: whoever
/// keeps up loses nothing yet, and what was queued or retained keeps a sixth of its room.
pub const MEMORY_SLOW_READERS: usize = 10;

/// Sixteenths of `memory_limit` that what has to wait may fill: retained messages, messages for who
/// is away or behind, subscriptions. Traffic between those who keep up goes on above it.
pub const MEMORY_QUEUES: usize = 12;

/// Sixteenths of `memory_limit` within which parts of long packets are kept, and messages are sent
/// at once to who takes them.
pub const MEMORY_PACKETS: usize = 13;

/// Sixteenths of `memory_limit` within which connections are accepted, and passwords hashed: more
/// than all the above may fill, or nobody could come for what waits. What is above stays free for
/// what is too small, or too seldom, to be asked for.
pub const MEMORY_CONNECTIONS: usize = 14;

/// Sixteenths of `memory_limit` within which Wills, accepted long before, find their receivers.
pub const MEMORY_WILLS: usize = 15;

/// Bytes that wait for a client beyond which it is slow where memory is short: what a prompt one
/// may be sent in one turn.
pub const SLOW_READER_BYTES: usize = 64 << 10;

/// Bytes that wait for a client up to which it is not even slow where nothing new may wait: all the
/// figures of `$SYS`, say.
pub const PROMPT_READER_BYTES: usize = 4 << 10;

/// As [`READ_PAUSE_ABOVE_BYTES`], where memory is short.
pub const READ_PAUSE_SHORT_BYTES: usize = 4 << 10;

/// Bytes of its own waiting for a client above which acknowledgements come without words: who does
/// not read them must not be sent ten times what it sends.
pub const REASON_STRINGS_BELOW_BYTES: usize = 16 << 10;

/// Bytes of memory that must be free for retained messages to be replayed: a write queue's own part
/// that grows twice, and a topic.
pub const REPLAY_SPARE_BYTES: usize = 4 * REPLAY_BELOW_BYTES;

/// Seconds without a refusal after which an episode of short memory is over.
pub const MEMORY_EPISODE_S: u64 = 10;

/// Bytes that a connection takes in the tables of both halves, which double when they are full.
pub const CONNECTION_TABLE_BYTES: usize = 128;

/// Bytes that a session takes in such tables.
pub const SESSION_TABLE_BYTES: usize = 64;

/// Bytes of a session and its connection beside what CONNECT brings.
pub const SESSION_BYTES: usize = 1024;

/// Bytes that one filter of a SUBSCRIBE or UNSUBSCRIBE takes until it is answered, at most.
pub const SUBSCRIBE_STEP_BYTES: usize = 64;

/// Bytes of a level in a tree of topics, at most, beside its text.
pub const LEVEL_BYTES: usize = 96;

/// Bytes of a subscription beside its levels, a shared one's group included, at most.
pub const SUBSCRIPTION_BYTES: usize = 320;

/// Names that one finding of `midge check` lists; the rest are counted.
pub const CHECK_NAMES_MAX: usize = 5;

/// Characters of a line's value that `midge check` shows to people; machines get all of them.
pub const CHECK_TEXT_CHARS_MAX: usize = 200;

/// Columns that `midge check` fills: on a terminal that does not say how wide it is or in a pipe,
/// and at least and at most on any.
pub const CHECK_COLUMNS: (usize, usize, usize) = (80, 40, 110);

/// Bytes of a PROXY header of version 1 at most, as its specification has it.
pub const PROXY_V1_BYTES_MAX: usize = 107;

/// Bytes of a PROXY header of version 2 at most, behind its first 16: HAProxy's, with everything it
/// can be told to send, has some 500.
pub const PROXY_V2_BYTES_MAX: usize = 2048;

/// Steps of TLS handshakes in one turn, for all connections together: one takes up to 20 ms of a Pi
/// Zero.
pub const HANDSHAKE_STEPS_PER_TURN: usize = 4;

/// Bytes kept of a TLS record, or of a message of its handshake, until the rest comes: a message
/// of 64 KiB, as long as rustls takes, and one record of 16 KiB with what is around it.
pub const TLS_STASH_BYTES_MAX: usize = (64 << 10) + (17 << 10);

/// Tickets that a client of TLS 1.3 is given, each of which resumes its session once. A client that
/// comes back gets another.
pub const TLS_TICKETS: usize = 1;

/// Bytes taken off a write queue at once to be encrypted or framed: one TLS record's worth.
pub const STAGED_WRITE_BYTES: usize = 16 << 10;

/// Bytes of the request that opens a WebSocket at most; browsers send all their cookies.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;

/// Header fields of that request at most.
pub const HTTP_HEADERS_MAX: usize = 64;

/// Bytes of one WebSocket frame at most. It is not kept, so that its length costs nothing; a longer
/// one cannot be meant.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = PACKET_BYTES_MAX as u64;

/// Seconds between two looks at whether the files of TLS have changed.
pub const FILE_WATCH_INTERVAL_S: u64 = 10;

/// Seconds for which files of TLS must not have changed before they are read again: those who renew
/// them write one after the other.
pub const FILE_SETTLE_S: u64 = 1;

/// Days before the end of a certificate from which on a warning is logged.
pub const CERTIFICATE_WARNING_DAYS: u64 = 14;

/// Milliseconds that acknowledgements are held back at most so that they share one sync: a hundred
/// messages a second then share it by threes, and a thousand by thirties.
pub const STORE_HOLD_MS: u64 = 33;

/// Milliseconds after a sync in which another promise may be held back.
pub const STORE_QUIET_MS: u64 = 50;

/// Commits after one that gained nothing by waiting before a whole wait is tried again.
pub const STORE_TRIAL_COMMITS: u32 = 250;

/// The part of the time of a sync for which promises are held together longer than it paid the last
/// time: for an eighth of it, a sync less is worth the wait.
pub const STORE_SPARE_SHARE: u64 = 8;

/// How many times as long as the last sync took the loop has for other work, while there is any,
/// before the next: with 1, syncs take no more than half of the time of a busy loop.
pub const STORE_REST_SHARE: u64 = 1;

/// Seconds that what nobody was promised (a client has come, a message has landed) may wait to be
/// written.
pub const STORE_LAZY_S: u64 = 5;

/// Seconds that a retained QoS 0 message may wait to be written, the last of its topic alone.
pub const STORE_UNHURRIED_S: u64 = 5;

/// Milliseconds between two commits where none is synced (`midge_persistence_sync none`).
pub const STORE_UNSYNCED_MS: u64 = 1000;

/// Bytes of changes that wait for an interval to pass, beyond which they are committed before.
pub const STORE_BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes of the file of changes between two commits that it keeps when they are void.
pub const STORE_TAIL_KEPT_BYTES: u64 = 256 << 10;

/// Bytes of the write-ahead log, in pages, before it is worked into the database.
pub const STORE_LOG_PAGES: u32 = 4000;

/// Bytes of changes that wait for a disk that does not take them, beyond which they are forgotten,
/// and everything is written anew when it does.
pub const STORE_WAITING_BYTES_MAX: usize = 16 << 20;

/// Milliseconds between two attempts to write to a disk that has refused.
pub const STORE_RETRY_MS: u64 = 1000;

/// Bytes of one statement in a database of mosquitto's plugin that is imported. The plugin's own have
/// 400 at most, and SQLite goes as deep into one as it is long.
pub const IMPORT_SQL_BYTES_MAX: i32 = 4096;

/// How many times its own bytes may come out of such a database: a number may be read as a text.
pub const IMPORT_GROWTH: u64 = 4;

/// Bytes that a row in it counts for beside its texts.
pub const IMPORT_ROW_BYTES: u64 = 4;

/// Messages of one session's queue that stay in memory where all of it is in the store: what waits by
/// default (`max_queued_messages`), so that only who lets more wait has them read from the disk.
pub const QUEUE_SHARE_MESSAGES: usize = QUEUED_MESSAGES_MAX_DEFAULT as usize;

/// Bytes of payload in them, beyond which messages wait on the disk, too.
pub const QUEUE_SHARE_BYTES: u64 = 256 << 10;

/// Places in the order of all messages that one reading from a queue in the store looks at: other
/// sessions' messages stand between those of one.
pub const QUEUE_READ_PLACES: u64 = 10_000;

/// Readings from queues in the store in one turn.
pub const QUEUE_READS_PER_TURN: usize = 4;

/// Seconds since 1970 that no clock can be before: 2026 began. A board without a clock of its own
/// starts in 1970, and nothing expires until it knows better.
pub const CLOCK_MIN_S: u64 = 1_767_225_600;

/// Seconds that a plausible clock may be behind what the store was written at, and the store is
/// believed: boards without a clock start at the date of their image or of their last save.
pub const CLOCK_BEHIND_MAX_S: u64 = 366 * 86_400;
