//! The manual pages by their names, and midge(8) itself: what the program can say of its own
//! command line, signals, environment and files. What stands in a table is printed from it.

use crate::command::{FORMS, SWITCHES, Switch};
use crate::config::options;
use crate::limits;
use crate::net::environment::VARIABLES;
use crate::passwd;
use crate::roff::Page;

/// A page and what prints it.
type Row = (&'static str, fn() -> String);

/// Every page, the one that is printed where none is named first.
pub const PAGES: [Row; 3] = [
    ("midge.conf.5", options::render_page),
    ("midge.8", render_page),
    ("mosquitto_passwd.1", passwd::render_page),
];

/// The page of this name, as roff.
pub fn page(name: &str) -> Option<String> {
    let row = PAGES.iter().find(|row| row.0 == name);
    row.map(|(_, render)| render())
}

/// The signals that mean something, and what.
const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Ends the broker: Wills are published, clients of MQTT 5.0 are told, sockets and the pid \
         file are removed.",
    ),
    (
        "SIGHUP",
        "Reads the configuration, the password and the ACL files again, and opens the log file \
         again. See RELOAD.",
    ),
    (
        "SIGUSR1",
        "Writes what is kept over a restart now, also what could have waited some seconds. With \
         persistence off, a log line says so.",
    ),
    (
        "SIGUSR2",
        "Prints every subscription to standard output: the client, the QoS and the filter.",
    ),
    (
        "SIGRTMIN",
        "Opens the log file again, for it may have been moved away. Its number is 34, or 35 where \
         midge is linked with musl, as in its packages: what kill(1) sends by that name, 34, ends \
         such a midge. SIGHUP opens the log file everywhere.",
    ),
];

/// What the program ends with.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "A signal ended it, or what was asked for was printed."),
    (
        "3",
        "The command line, the configuration or the environment is wrong. What is wrong is said \
         on standard error, all of it at once.",
    ),
    (
        "14",
        "The system refuses something: a port in use, a log file that cannot be opened, a user \
         that there is not.",
    ),
];

/// The topics that people look for first.
const SYS: &[(&str, &str)] = &[
    ("$SYS/broker/version", "what this is"),
    ("$SYS/broker/uptime", "how long it has run"),
    ("$SYS/broker/clients/connected", "clients that are there"),
    ("$SYS/broker/messages/received", "packets since the start"),
    ("$SYS/broker/midge/dropped/#", "messages dropped, by reason"),
];

fn render_page() -> String {
    let mut page = Page::new("midge", 8, "an MQTT broker that takes mosquitto's place");
    page.section("SYNOPSIS");
    for form in FORMS {
        page.paragraph(&format!("`midge` {form}"));
    }
    describe(&mut page);
    page.section("OPTIONS");
    for switch in SWITCHES {
        option(&mut page, switch);
    }
    commands(&mut page);
    live(&mut page);
    page.section("ENVIRONMENT");
    page.paragraph("A variable with an empty value counts as not set.");
    for variable in VARIABLES {
        let name = format!("{}=", variable.name);
        page.entry(&name, variable.shape, variable.doc);
    }
    page.entry(
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "",
        "Set by systemd: where it is told when midge is ready, reloading and stopping, and how \
         often it wants a sign of life.",
    );
    files(&mut page);
    log(&mut page);
    page.section("$SYS");
    page.paragraph(
        "Every `sys_interval` seconds the broker publishes what has changed of its own figures, \
         with mosquitto's topics and formats:",
    );
    for (topic, doc) in SYS {
        page.entry(topic, "", doc);
    }
    page.section("EXIT STATUS");
    list(&mut page, EXIT_CODES);
    examples(&mut page);
    page.section("SEE ALSO");
    page.paragraph(
        "midge.conf(5), mosquitto_passwd(1); in the packages, /usr/share/doc/midge/README.Debian, \
         which says what the service may do, and /usr/share/doc/midge/examples.",
    );
    page.finish()
}

fn describe(page: &mut Page) {
    page.section("DESCRIPTION");
    page.paragraph(
        "midge is a broker for MQTT 3.1, 3.1.1 and 5.0: clients connect to it, publish messages to \
         topics, and get those of the topics they subscribe to. It reads mosquitto's configuration \
         file and takes its command line, ports, signals and exit codes, for boards and routers \
         with little memory.",
    );
    page.paragraph(
        "Without a configuration file, or with one that names no listener, it serves this machine \
         alone, on port 1883 of 127.0.0.1 and ::1, and clients need no username. As soon as a \
         listener is named, clients need one, unless `allow_anonymous true` says otherwise.",
    );
}

fn option(page: &mut Page, switch: &Switch) {
    let long = format!("--{}", switch.long);
    let name = match switch.short {
        "" => long,
        short => format!("-{short}, {long}"),
    };
    // A list of options needs no sentences, a page does.
    let mut text = switch.doc.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    page.entry(&name, switch.argument, &format!("{text}."));
}

fn commands(page: &mut Page) {
    page.section("COMMANDS");
    page.entry(
        "midge check",
        "[-c FILE] [--json]",
        "Explains a configuration line by line, and says what is likely to be a mistake. It \
         changes nothing, and ends with 3 where midge would not start.",
    );
    page.entry(
        "midge export",
        "[-c FILE] NEW-FILE",
        "Writes what is stored for the way back: as the database of mosquitto 2.1's SQLite plugin \
         if the name ends in .sqlite3, else as a mosquitto.db, version 6. The file must not be \
         there yet, and the broker must not be running.",
    );
    page.entry(
        "midge passwd",
        "...",
        "Makes and changes password files: see mosquitto_passwd(1), which is the same program \
         under another name.",
    );
}

fn live(page: &mut Page) {
    page.section("SIGNALS");
    list(page, SIGNALS);
    page.section("RELOAD");
    page.paragraph(
        "On SIGHUP everything is read and checked first, and then put in force as a whole. \
         Anything wrong keeps the running configuration as it is, and the log says what and why; \
         the broker never ends because of a reload. Each option that has changed is named in the \
         log, with its old and its new value, and whether it holds at once, for new connections, \
         or after a restart. Listeners may come and go; connections that are there stay.",
    );
}

fn files(page: &mut Page) {
    page.section("FILES");
    page.paragraph(
        "midge reads no file that is not named, by `-c` or in a configuration file. \
         Configuration, password and ACL files are read before root's rights are given up for \
         those of `user`, and again at SIGHUP, then with the rights of `user`: it must be able to \
         read them. The service of the packages, midge.service, may read every file, also then: \
         what belongs to root alone may stay so.",
    );
    page.paragraph(
        "A log file that midge makes belongs to `user`, and nobody else can read it; with \
         UMASK_SET, whoever the umask leaves in. One that is there keeps its owner and rights.",
    );
    page.paragraph(
        "Where a password, ACL, log or pid file is a symbolic link, it is followed if root or the \
         user that midge runs as made the link, as in the volumes of Kubernetes. A link of anybody \
         else's could lead anywhere, and keeps midge from starting; mosquitto 2.1 refuses every \
         link. Give it to root with `chown -h root LINK`, or set \
         MOSQUITTO_UNSAFE_ALLOW_SYMLINKS.",
    );
}

fn log(page: &mut Page) {
    page.section("LOG");
    page.paragraph(
        "Lines go to standard error unless `log_dest` says otherwise, and why a start failed is told \
         there also where the log is a file. They have mosquitto's form: \
         seconds since 1970, a colon and the text. Each end of a connection has one line with its \
         cause. `log_type debug` adds every packet, `log_type subscribe` and `log_type \
         unsubscribe` add every subscription; types `internal` and `websockets` have no lines of \
         their own.",
    );
    page.paragraph(&format!(
        "Of one kind of line that clients cause, {} are written within a second; what is beyond \
         that is counted, and told in one line when the second is over. Types debug, subscribe \
         and unsubscribe have no such bound.",
        limits::LOG_LINES_PER_KIND
    ));
}

fn examples(page: &mut Page) {
    page.section("EXAMPLES");
    page.paragraph("A broker for this machine alone, and a message through it:");
    page.example(&[
        "midge -p 1884 &",
        "mosquitto_sub -p 1884 -t tea -C 1 &",
        "mosquitto_pub -p 1884 -t tea -m hot",
    ]);
    page.paragraph("A configuration is tried before it is put in force:");
    page.example(&[
        "midge -c /etc/mosquitto/mosquitto.conf --test-config &&",
        "    kill -HUP $(pidof midge)",
    ]);
    page.paragraph("As another user, from a container whose root starts it:");
    page.example(&["PUID=1883 PGID=1883 UMASK_SET=027 midge -c /etc/mosquitto/mosquitto.conf"]);
}

fn list(page: &mut Page, rows: &[(&str, &str)]) {
    for (name, doc) in rows {
        page.entry(name, "", doc);
    }
}
