//! The broker as rumqttc sees it, the library of most Rust programs that speak MQTT.
//!
//! Prints `ok NAME` or `FAILED NAME: why` for each test, as the other suites do. The broker is
//! at MQTT_HOST and MQTT_PORT. Arguments are parts of names; only matching tests run.
//!
//! `tests/clients/broker.py rumqttc cargo run --manifest-path tests/clients/rumqttc/Cargo.toml`

mod client;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::time::timeout;

use client::{Client, Message, Options, Outcome, SILENCE, Version, Will};

const TEST_TIME: Duration = Duration::from_secs(30);
const BIG_BYTES: usize = 1_900_000;

/// Fails the test with a sentence unless the condition holds.
macro_rules! must {
    ($condition:expr, $($sentence:tt)*) => {
        if !$condition {
            return Err(format!($($sentence)*));
        }
    };
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

async fn client(version: Version) -> Outcome<Client> {
    Client::connect(Options::new(version)).await
}

async fn connects(version: Version, topic: String) -> Outcome {
    let mut client = client(version).await?;
    must!(!client.session_present, "Session Present in a new session");
    must!(
        client.subscribe(&topic, 1).await? == 1,
        "QoS 1 was not granted"
    );
    client.publish(&topic, "hello devices", 1, false).await?;
    client.gets(&["hello devices"]).await?;
    client.leave().await
}

async fn every_qos_in_order(version: Version, topic: String) -> Outcome {
    let sent = numbers(100);
    let mut publisher = client(version).await?;
    let mut subscribers = vec![];
    for granted in 0..=2 {
        for qos in 0..=2 {
            let mut subscriber = client(version).await?;
            must!(
                subscriber
                    .subscribe(&format!("{topic}/{qos}"), granted)
                    .await?
                    == granted,
                "QoS {granted} was not granted"
            );
            subscribers.push((granted, qos, subscriber));
        }
    }
    for qos in 0..=2 {
        for payload in &sent {
            publisher
                .send(&format!("{topic}/{qos}"), payload.as_str(), qos, false)
                .await?;
        }
    }
    publisher.acknowledged(2 * sent.len()).await?;
    for (granted, qos, subscriber) in &mut subscribers {
        let got = subscriber.take(sent.len()).await?;
        let texts: Vec<String> = got.iter().map(Message::text).collect();
        must!(texts == sent, "QoS {qos} to {granted}: got {texts:?}");
        let lower = (*granted).min(*qos);
        must!(
            got.iter().all(|message| message.qos == lower),
            "QoS {qos} to {granted}: a message came with another"
        );
    }
    tokio::time::sleep(SILENCE).await;
    for (_, _, subscriber) in &mut subscribers {
        subscriber.nothing_more()?;
    }
    Ok(())
}

async fn big_payload(version: Version, topic: String) -> Outcome {
    let content: Vec<u8> = (0..BIG_BYTES)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect();
    let mut publisher = client(version).await?;
    let mut subscriber = client(version).await?;
    subscriber.subscribe(&topic, 2).await?;
    for qos in 0..=2 {
        publisher
            .publish(&topic, content.clone(), qos, false)
            .await?;
        let got = subscriber.take(1).await?;
        must!(
            got[0].payload == content,
            "QoS {qos}: {} bytes arrived, or they changed",
            got[0].payload.len()
        );
    }
    Ok(())
}

async fn retained(version: Version, topic: String) -> Outcome {
    let mut publisher = client(version).await?;
    let mut live = client(version).await?;
    live.subscribe(&topic, 1).await?;
    publisher.publish(&topic, "first", 1, true).await?;
    publisher.publish(&topic, "second", 2, true).await?;
    let mut late = client(version).await?;
    late.subscribe(&topic, 1).await?;
    let got = late.gets(&["second"]).await?;
    must!(got[0].retain && got[0].qos == 1, "got {:?}", got[0]);
    publisher.publish(&topic, "", 1, true).await?;
    let mut later = client(version).await?;
    later.subscribe(&topic, 1).await?;
    later.silence().await?;
    let got = live.gets(&["first", "second", ""]).await?;
    must!(
        got.iter().all(|message| !message.retain),
        "RETAIN on an established subscription"
    );
    Ok(())
}

async fn will(version: Version, topic: String) -> Outcome {
    let with_will = |name: &str| Options {
        will: Some(Will {
            topic: format!("{topic}/{name}"),
            payload: name.into(),
            retain: name == "kept",
        }),
        ..Options::new(version)
    };
    let mut watcher = client(version).await?;
    watcher.subscribe(&format!("{topic}/+"), 2).await?;
    Client::connect(with_will("left")).await?.leave().await?;
    Client::connect(with_will("cut")).await?.cut().await;
    watcher.gets(&["cut"]).await?;
    Client::connect(with_will("kept")).await?.cut().await;
    watcher.gets(&["kept"]).await?;
    let mut late = client(version).await?;
    late.subscribe(&format!("{topic}/+"), 2).await?;
    let got = late.gets(&["kept"]).await?;
    must!(got[0].retain && got[0].qos == 1, "got {:?}", got[0]);
    Ok(())
}

async fn session(version: Version, topic: String) -> Outcome {
    let durable = Options {
        client_identifier: Some(format!("rumqttc-{topic}")),
        clean: false,
        ..Options::new(version)
    };
    let sent = numbers(100);
    let mut first = Client::connect(durable.clone()).await?;
    first.subscribe(&topic, 2).await?;
    first.leave().await?;
    let mut publisher = client(version).await?;
    for payload in &sent {
        publisher
            .publish(&topic, payload.as_str(), 2, false)
            .await?;
    }
    let mut second = Client::connect(durable.clone()).await?;
    must!(second.session_present, "no Session Present");
    second.gets(&sent).await?;
    second.cut().await;
    publisher.publish(&topic, "meanwhile", 1, false).await?;
    let mut third = Client::connect(durable.clone()).await?;
    third.gets(&["meanwhile"]).await?;
    third.leave().await?;
    let fourth = Client::connect(Options {
        clean: true,
        ..durable
    })
    .await?;
    must!(
        !fourth.session_present,
        "a clean session is said to be an old one"
    );
    Ok(())
}

async fn wildcards_and_unsubscribe(version: Version, topic: String) -> Outcome {
    let mut client = client(version).await?;
    client.subscribe(&format!("{topic}/+/x"), 1).await?;
    client.subscribe(&format!("{topic}/tree/#"), 1).await?;
    for name in ["a/x", "a/b/x", "tree", "tree/a/b", "other"] {
        client
            .publish(&format!("{topic}/{name}"), name, 1, false)
            .await?;
    }
    client.gets(&["a/x", "tree", "tree/a/b"]).await?;
    client.unsubscribe(&format!("{topic}/tree/#")).await?;
    for name in ["c/x", "tree/c"] {
        client
            .publish(&format!("{topic}/{name}"), name, 1, false)
            .await?;
    }
    client.gets(&["c/x"]).await.map(|_| ())
}

async fn shared_subscription(version: Version, topic: String) -> Outcome {
    let sent = numbers(60);
    let mut members = vec![];
    for _ in 0..3 {
        let mut member = client(version).await?;
        must!(
            member.subscribe(&format!("$share/crew/{topic}"), 1).await? == 1,
            "QoS 1 was not granted"
        );
        members.push(member);
    }
    let mut publisher = client(version).await?;
    for payload in &sent {
        publisher
            .publish(&topic, payload.as_str(), 1, false)
            .await?;
    }
    tokio::time::sleep(SILENCE).await;
    let mut got = vec![];
    for member in &mut members {
        let share = member.all_so_far()?;
        must!(!share.is_empty(), "one member got nothing");
        got.extend(share.iter().map(Message::text));
    }
    got.sort_by_key(|text| text.parse::<usize>().unwrap_or(usize::MAX));
    must!(got == sent, "together the members got {got:?}");
    Ok(())
}

async fn takeover(version: Version, topic: String) -> Outcome {
    let twin = Options {
        client_identifier: Some(format!("rumqttc-{topic}")),
        ..Options::new(version)
    };
    let mut older = Client::connect(twin.clone()).await?;
    let mut newer = Client::connect(twin).await?;
    older.ended().await?;
    newer.subscribe(&topic, 0).await?;
    newer.publish(&topic, "still here", 0, false).await?;
    newer.gets(&["still here"]).await.map(|_| ())
}

async fn publish_properties(version: Version, topic: String) -> Outcome {
    let mut publisher = client(version).await?;
    let mut subscriber = client(version).await?;
    let mut older = client(Version::V311).await?;
    subscriber.subscribe_identified(&topic, 1, 4711).await?;
    older.subscribe(&topic, 1).await?;
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(100),
        response_topic: Some("answer/to".into()),
        correlation_data: Some(vec![0, 1, 255].into()),
        user_properties: [("b", "1"), ("a", "2"), ("b", "3")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        content_type: Some("text/tea".into()),
        ..PublishProperties::default()
    };
    publisher.send_with(&topic, "x", 1, sent.clone()).await?;
    publisher.acknowledged(1).await?;
    let got = subscriber
        .gets(&["x"])
        .await?
        .remove(0)
        .properties
        .unwrap_or_default();
    let left = got.message_expiry_interval.unwrap_or(0);
    must!((98..=100).contains(&left), "Message Expiry Interval {left}");
    let expected = PublishProperties {
        message_expiry_interval: Some(left),
        subscription_identifiers: vec![4711],
        ..sent
    };
    must!(got == expected, "expected {expected:?}, got {got:?}");
    older.gets(&["x"]).await.map(|_| ())
}

async fn topic_alias_both_ways(version: Version, topic: String) -> Outcome {
    let mut publisher = client(version).await?;
    let mut subscriber = Client::connect(Options {
        topic_alias_max: Some(2),
        ..Options::new(version)
    })
    .await?;
    subscriber.subscribe(&format!("{topic}/+"), 1).await?;
    let letters: Vec<String> = "abcabcaabbcc".chars().map(String::from).collect();
    for (index, letter) in letters.iter().enumerate() {
        // Every topic names itself once and goes by its alias from then on.
        let alias = 1 + (letter.as_bytes()[0] - b'a') as u16;
        let name = if index < 3 {
            format!("{topic}/{letter}")
        } else {
            String::new()
        };
        let properties = PublishProperties {
            topic_alias: Some(alias),
            ..PublishProperties::default()
        };
        publisher.send_with(&name, letter, 1, properties).await?;
    }
    publisher.acknowledged(letters.len()).await?;
    // Whether the broker uses aliases as well is its choice. rumqttc shows packets as they came.
    let mut names: HashMap<u16, String> = HashMap::new();
    for message in subscriber.gets(&letters).await? {
        let alias = message
            .properties
            .as_ref()
            .and_then(|properties| properties.topic_alias);
        must!(
            alias.is_none_or(|alias| (1..=2).contains(&alias)),
            "alias {alias:?} is out of range"
        );
        let name = match alias {
            None => message.topic.clone(),
            Some(alias) if message.topic.is_empty() => {
                names.get(&alias).cloned().unwrap_or_default()
            }
            Some(alias) => names
                .entry(alias)
                .insert_entry(message.topic.clone())
                .get()
                .clone(),
        };
        let expected = format!("{topic}/{}", message.text());
        must!(name == expected, "expected {expected}, got {name}");
    }
    Ok(())
}

/// Runs one test for one version and prints how it ended; false if it failed.
async fn report<Test: Future<Output = Outcome>>(
    name: &str,
    version: Version,
    test: impl FnOnce(Version, String) -> Test,
) -> bool {
    let suffix = if version == Version::V5 { "v5" } else { "v311" };
    let started = Instant::now();
    let outcome = match timeout(TEST_TIME, test(version, format!("{name}/{suffix}"))).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not done after {TEST_TIME:?}")),
    };
    match &outcome {
        Ok(()) => println!(
            "ok {name}[{suffix}] ({:.1} s)",
            started.elapsed().as_secs_f32()
        ),
        Err(why) => println!("FAILED {name}[{suffix}]: {}", why.replace('\n', " ")),
    }
    outcome.is_ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let mut ends: Vec<bool> = vec![];
    macro_rules! run {
        ($($test:ident: $($version:ident)*;)*) => {$(
            if parts.is_empty() || parts.iter().any(|part| stringify!($test).contains(part.as_str())) {
                $(ends.push(report(stringify!($test), Version::$version, $test).await);)*
            }
        )*};
    }
    run! {
        connects: V311 V5;
        every_qos_in_order: V311 V5;
        big_payload: V311 V5;
        retained: V311 V5;
        will: V311 V5;
        session: V311 V5;
        wildcards_and_unsubscribe: V311 V5;
        shared_subscription: V311 V5;
        takeover: V311 V5;
        publish_properties: V5;
        topic_alias_both_ways: V5;
    }
    if ends.is_empty() {
        println!("FAILED no test has such a name");
    }
    if !ends.is_empty() && ends.iter().all(|passed| *passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
