//! Random comings and goings of a few clients against a model of when sessions end and Wills are
//! published [MQTT §3.1.2.4, §3.1.2.5, §3.1.2.10] [MQTT5 §3.1.2.4, §3.1.2.5, §3.1.2.11.2,
//! §3.1.3.2.2]. proptest prints the shortest run that goes wrong.

mod table;
use midge::codec::property::Property;
use midge::codec::reason::ReasonCode;
use proptest::prelude::*;
use table::*;

const CLIENTS: usize = 3;
const NAMES: [&str; CLIENTS] = ["ann", "cat", "dan"];
const NEVER: u64 = u64::MAX;

/// What a client does next.
#[derive(Clone, Debug)]
enum Step {
    Connects(Opening),
    Drops,
    Leaves(Option<u32>),
    LeavesWithWill,
    BreaksARule,
    Pings,
    Waits(u64),
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    is_5: bool,
    clean: bool,
    expiry_s: u32,
    will_delay_s: Option<u32>,
    keep_alive_s: u16,
}

/// What the model knows of one client.
#[derive(Clone, Debug)]
struct Known {
    seat: Option<Seat>,
    is_5: bool,
    expiry_s: u32,
    will_delay_s: Option<u32>,
    silence_ms: u64,
    silent_at: u64,
    will_at: u64,
    ends_at: u64,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    Badly,
}

#[derive(Default)]
struct Model {
    now_ms: u64,
    known: [Option<Known>; CLIENTS],
    /// Whose Wills are published, in any order within one step.
    wills: Vec<usize>,
}

impl Known {
    fn next_at(&self) -> u64 {
        match self.seat {
            Some(_) => self.silent_at,
            None => self.will_at.min(self.ends_at),
        }
    }
}

impl Model {
    fn connects(&mut self, who: usize, opening: Opening, seat: Seat) -> bool {
        if self.known[who].as_ref().is_some_and(|k| k.seat.is_some()) {
            // A Will that is delayed is cancelled by what follows, or published with its session.
            self.ends(who, End::Badly);
        }
        if opening.clean {
            self.forgets(who);
        }
        let is_present = self.known[who].is_some();
        let expiry_s = match (opening.is_5, opening.clean) {
            (true, _) => opening.expiry_s,
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        let will_delay_s = opening.will_delay_s;
        let silence_ms = u64::from(opening.keep_alive_s) * 1500;
        self.known[who] = Some(Known {
            seat: Some(seat),
            is_5: opening.is_5,
            expiry_s,
            will_delay_s: will_delay_s.map(|delay_s| if opening.is_5 { delay_s } else { 0 }),
            silence_ms,
            silent_at: NEVER,
            will_at: NEVER,
            ends_at: NEVER,
        });
        self.speaks(who);
        is_present
    }

    fn speaks(&mut self, who: usize) {
        let now_ms = self.now_ms;
        if let Some(known) = &mut self.known[who] {
            if known.silence_ms > 0 {
                known.silent_at = now_ms + known.silence_ms;
            }
        }
    }

    /// The connection ends; what is due at once happens at once.
    fn ends(&mut self, who: usize, end: End) {
        let now_ms = self.now_ms;
        let Some(known) = &mut self.known[who] else {
            return;
        };
        known.seat = None;
        known.silent_at = NEVER;
        if end == End::Well {
            known.will_delay_s = None;
        }
        known.will_at = match known.will_delay_s {
            Some(delay_s) => now_ms + u64::from(delay_s) * 1000,
            None => NEVER,
        };
        known.ends_at = match known.expiry_s {
            u32::MAX => NEVER,
            seconds => now_ms + u64::from(seconds) * 1000,
        };
        self.happens(who);
    }

    fn forgets(&mut self, who: usize) {
        let known = self.known[who].take();
        if known.is_some_and(|known| known.will_delay_s.is_some()) {
            self.wills.push(who);
        }
    }

    /// What is due for one client now.
    fn happens(&mut self, who: usize) {
        let now_ms = self.now_ms;
        let Some(known) = &mut self.known[who] else {
            return;
        };
        if known.seat.is_some() {
            if known.silent_at <= now_ms {
                self.ends(who, End::Badly);
            }
        } else if known.ends_at <= now_ms {
            self.forgets(who);
        } else if known.will_at <= now_ms {
            known.will_at = NEVER;
            known.will_delay_s = None;
            self.wills.push(who);
        }
    }

    fn waits(&mut self, millis: u64) {
        let end = self.now_ms + millis;
        loop {
            let next = (0..CLIENTS).filter_map(|who| Some((self.known[who].as_ref()?, who)));
            let next = next.map(|(known, who)| (known.next_at(), who)).min();
            let Some((at, who)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now_ms = at;
            self.happens(who);
        }
        self.now_ms = end;
    }
}

fn opening() -> impl Strategy<Value = Opening> {
    let expiry_s = prop::sample::select(vec![0, 1, 2, 5, u32::MAX]);
    let will_delay_s = prop::option::of(prop::sample::select(vec![0, 1, 2, 5, 9]));
    let keep_alive_s = prop::sample::select(vec![0, 1, 2, 4]);
    let parts = (
        any::<bool>(),
        any::<bool>(),
        expiry_s,
        will_delay_s,
        keep_alive_s,
    );
    parts.prop_map(
        |(is_5, clean, expiry_s, will_delay_s, keep_alive_s)| Opening {
            is_5,
            clean,
            expiry_s,
            will_delay_s,
            keep_alive_s,
        },
    )
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let interval = prop::option::of(prop::sample::select(vec![0, 1, 3, u32::MAX]));
    let step = prop_oneof![
        6 => opening().prop_map(Step::Connects),
        3 => Just(Step::Drops),
        1 => interval.prop_map(Step::Leaves),
        1 => Just(Step::LeavesWithWill),
        1 => Just(Step::BreaksARule),
        3 => Just(Step::Pings),
        6 => (0..8_u64).prop_map(|halves| Step::Waits(halves * 500)),
        1 => (0..3000_u64).prop_map(Step::Waits),
    ];
    (0..CLIENTS, step)
}

fn says(who: usize, opening: Opening) -> Say {
    let mut packet = connect(NAMES[who]).keep_alive(opening.keep_alive_s);
    if !opening.clean {
        packet = packet.durable();
    }
    packet = packet.with(Property::SessionExpiryInterval(opening.expiry_s));
    match opening.will_delay_s {
        None => packet,
        Some(delay_s) => packet
            .will("gone", NAMES[who], 0, false)
            .will_with(Property::WillDelayInterval(delay_s)),
    }
}

fn run(steps: Vec<(usize, Step)>) {
    let mut t = Table::new();
    let mut model = Model::default();
    let bob = t.client(V311, "bob");
    t.sends(bob, subscribe(1, "gone", 0));
    t.gets(bob, suback(1, &[0]));
    for (who, step) in steps {
        let known = model.known[who].clone();
        let seat = known.as_ref().and_then(|known| known.seat);
        match (step, seat) {
            (Step::Waits(millis), _) => {
                t.passes_ms(millis);
                model.waits(millis);
            }
            (Step::Connects(opening), _) => {
                let version = if opening.is_5 { V5 } else { V311 };
                let new = t.says_connect(version, says(who, opening));
                let is_present = model.connects(who, opening, new);
                let expected = match opening.is_5 {
                    true => connack5(is_present),
                    false => connack(is_present),
                };
                t.gets(new, expected);
            }
            (_, None) => {}
            (Step::Drops, Some(seat)) => {
                t.drops(seat);
                model.ends(who, End::Badly);
            }
            (Step::Leaves(interval), Some(seat)) => {
                let changed = interval.filter(|_| known.as_ref().is_some_and(|known| known.is_5));
                let packet = changed.map(Property::SessionExpiryInterval);
                t.sends(seat, packet.into_iter().fold(disconnect(), Say::with));
                let known = model.known[who].as_mut().unwrap();
                match (known.expiry_s, changed) {
                    (0, Some(1..)) => model.ends(who, End::Badly),
                    (_, changed) => {
                        known.expiry_s = changed.unwrap_or(known.expiry_s);
                        model.ends(who, End::Well);
                    }
                }
            }
            (Step::LeavesWithWill, Some(seat)) => {
                let is_5 = known.is_some_and(|known| known.is_5);
                let reason = ReasonCode::DisconnectWithWillMessage;
                t.sends(seat, disconnect().reason(reason));
                model.ends(who, if is_5 { End::Badly } else { End::Well });
            }
            (Step::BreaksARule, Some(seat)) => {
                t.sends(seat, pingresp());
                model.ends(who, End::Badly);
            }
            (Step::Pings, Some(seat)) => {
                t.sends(seat, pingreq());
                t.gets(seat, pingresp());
                model.speaks(who);
            }
        }
        compare(&mut t, &mut model, bob, seat);
    }
}

/// The Wills heard, who is connected, and how many sessions there are.
fn compare(t: &mut Table, model: &mut Model, bob: Seat, left: Option<Seat>) {
    let mut heard = Vec::new();
    while let Some(bytes) = t.next(bob) {
        let name = NAMES
            .iter()
            .position(|name| bytes.ends_with(name.as_bytes()));
        heard.push(name.unwrap());
    }
    heard.sort_unstable();
    model.wills.sort_unstable();
    assert_eq!(heard, model.wills, "Wills");
    model.wills.clear();
    let known = || model.known.iter().flatten();
    for seat in known().filter_map(|known| known.seat) {
        t.open(seat);
        t.nothing(seat);
    }
    if let Some(seat) = left.filter(|left| known().all(|known| known.seat != Some(*left))) {
        t.ignores(seat);
        t.drops(seat);
    }
    // bob has one, too.
    assert_eq!(t.broker.sizes().sessions, 1 + known().count(), "sessions");
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn sessions_end_and_wills_are_published_when_the_model_says(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        run(steps);
    }
}
