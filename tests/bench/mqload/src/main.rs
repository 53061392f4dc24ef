//! mqload: puts load on an MQTT broker, checks every message, and accounts
//! for the CPU time and memory that the broker spends. See ../README.md.

mod args;
mod churn;
mod dumb_relay;
mod engine;
mod idle;
mod mqtt;
mod net;
mod process;
mod queue;
mod relay;
mod report;
mod retained;
mod session;
mod storm;
mod topology;

use std::process::ExitCode;

use args::Args;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
usage: mqload SCENARIO [--option value]...
scenarios: idle, relay, latency, connect-storm, retained, queue, churn-subs, dumb-relay
common options: --host 127.0.0.1 --port 1883 --mqtt 3.1.1|5 --user --password
                --pid BROKER_PID --keepalive S --concurrency N --sources N
tests/bench/README.md lists the options of each scenario.";

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let scenario = words.next().unwrap_or_default();
    let args = Args::parse(words)?;
    match scenario.as_str() {
        "idle" => idle::idle(&args),
        "relay" => relay::relay(&args),
        "latency" => relay::latency(&args),
        "connect-storm" => storm::connect_storm(&args),
        "retained" => retained::retained(&args),
        "queue" => queue::queue(&args),
        "churn-subs" => churn::churn_subs(&args),
        "dumb-relay" => dumb_relay::dumb_relay(&args),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqload: {error}");
            ExitCode::FAILURE
        }
    }
}
