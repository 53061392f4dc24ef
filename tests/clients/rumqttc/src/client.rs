//! One client for both protocol versions, and something to wait for.
//!
//! rumqttc has a crate within the crate for each version. The tests are to read the same for
//! both, so this is the only file that knows there are two.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc as v4;
use rumqttc::v5;
use rumqttc::v5::mqttbytes as v5bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// For what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For what must not.
pub const SILENCE: Duration = Duration::from_millis(250);
/// Above the broker's own limit; rumqttc takes 10 KiB by default.
const PACKET_BYTES_MAX: u32 = 3_000_000;
/// Below the Receive Maximum of 20 that brokers grant by default.
const OPEN_MESSAGES_MAX: u16 = 15;

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// What a test can fail with: one sentence.
pub type Outcome<T = ()> = Result<T, String>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

#[derive(Clone)]
pub struct Will {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
}

/// How to connect. The default is a nameless clean session.
#[derive(Clone)]
pub struct Options {
    pub version: Version,
    pub client_identifier: Option<String>,
    pub clean: bool,
    pub will: Option<Will>,
    pub topic_alias_max: Option<u16>,
}

impl Options {
    pub fn new(version: Version) -> Options {
        Options {
            version,
            client_identifier: None,
            clean: true,
            will: None,
            topic_alias_max: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Option<v5bytes::v5::PublishProperties>,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

enum News {
    Connected {
        session_present: bool,
    },
    Granted(Vec<u8>),
    Unsubscribed,
    /// PUBACK or PUBCOMP, whichever ends a PUBLISH of its quality.
    Acknowledged,
    Message(Message),
    Ended(String),
}

enum Handle {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// A connected client. Dropping it breaks the connection without a DISCONNECT.
pub struct Client {
    handle: Handle,
    news: UnboundedReceiver<News>,
    task: JoinHandle<()>,
    pub session_present: bool,
    /// Came while something else was waited for.
    messages: Vec<Message>,
    others: VecDeque<News>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    pub async fn connect(options: Options) -> Outcome<Client> {
        let name = match &options.client_identifier {
            Some(name) => name.clone(),
            None => format!("rumqttc-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        };
        let (sender, news) = unbounded_channel();
        let (handle, task) = match options.version {
            Version::V311 => start_v4(&name, &options, sender),
            Version::V5 => start_v5(&name, &options, sender),
        };
        let mut client = Client {
            handle,
            news,
            task,
            session_present: false,
            messages: vec![],
            others: VecDeque::new(),
        };
        match client.next_other("CONNACK").await? {
            News::Connected { session_present } => client.session_present = session_present,
            _ => return Err("something came before the CONNACK".into()),
        }
        Ok(client)
    }

    /// Gives the granted quality or Reason Code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Outcome<u8> {
        match &self.handle {
            Handle::V4(client) => text(client.subscribe(filter, v4_qos(qos)).await)?,
            Handle::V5(client) => text(client.subscribe(filter, v5_qos(qos)).await)?,
        }
        self.granted().await
    }

    /// As above with a Subscription Identifier, MQTT 5 only.
    pub async fn subscribe_identified(
        &mut self,
        filter: &str,
        qos: u8,
        identifier: usize,
    ) -> Outcome<u8> {
        let properties = v5bytes::v5::SubscribeProperties {
            id: Some(identifier),
            user_properties: vec![],
        };
        let Handle::V5(client) = &self.handle else {
            return Err("only MQTT 5 has Subscription Identifiers".into());
        };
        text(
            client
                .subscribe_with_properties(filter, v5_qos(qos), properties)
                .await,
        )?;
        self.granted().await
    }

    async fn granted(&mut self) -> Outcome<u8> {
        match self.next_other("SUBACK").await? {
            News::Granted(codes) if codes.len() == 1 => Ok(codes[0]),
            _ => Err("expected a SUBACK for one filter".into()),
        }
    }

    pub async fn unsubscribe(&mut self, filter: &str) -> Outcome {
        match &self.handle {
            Handle::V4(client) => text(client.unsubscribe(filter).await)?,
            Handle::V5(client) => text(client.unsubscribe(filter).await)?,
        }
        match self.next_other("UNSUBACK").await? {
            News::Unsubscribed => Ok(()),
            _ => Err("expected an UNSUBACK".into()),
        }
    }

    /// Hands the message over; `acknowledged` waits for the broker.
    pub async fn send(
        &mut self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
        qos: u8,
        retain: bool,
    ) -> Outcome {
        match &self.handle {
            Handle::V4(client) => text(client.publish(topic, v4_qos(qos), retain, payload).await),
            Handle::V5(client) => text(
                client
                    .publish(topic, v5_qos(qos), retain, payload.into())
                    .await,
            ),
        }
    }

    pub async fn send_with(
        &mut self,
        topic: &str,
        payload: &str,
        qos: u8,
        properties: v5bytes::v5::PublishProperties,
    ) -> Outcome {
        let Handle::V5(client) = &self.handle else {
            return Err("only MQTT 5 has properties".into());
        };
        text(
            client
                .publish_with_properties(topic, v5_qos(qos), false, payload.to_owned(), properties)
                .await,
        )
    }

    /// Sends and, above QoS 0, waits for the acknowledgement.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
        qos: u8,
        retain: bool,
    ) -> Outcome {
        self.send(topic, payload, qos, retain).await?;
        if qos > 0 {
            self.acknowledged(1).await
        } else {
            Ok(())
        }
    }

    pub async fn acknowledged(&mut self, count: usize) -> Outcome {
        for _ in 0..count {
            match self.next_other("acknowledgement").await? {
                News::Acknowledged => {}
                _ => return Err("expected an acknowledgement".into()),
            }
        }
        Ok(())
    }

    /// Takes `count` messages, however many follow.
    pub async fn take(&mut self, count: usize) -> Outcome<Vec<Message>> {
        while self.messages.len() < count {
            let have = self.messages.len();
            let news = self
                .next(&format!("message {} of {count}", have + 1))
                .await?;
            self.keep(news)?;
        }
        Ok(self.messages.drain(..count).collect())
    }

    /// Takes exactly these payloads, in this order, and then silence.
    pub async fn gets<T: AsRef<str>>(&mut self, payloads: &[T]) -> Outcome<Vec<Message>> {
        let messages = self.take(payloads.len()).await?;
        let got: Vec<String> = messages.iter().map(Message::text).collect();
        let expected: Vec<&str> = payloads.iter().map(AsRef::as_ref).collect();
        if got != expected {
            return Err(format!("expected {expected:?}, got {got:?}"));
        }
        self.silence().await?;
        Ok(messages)
    }

    pub async fn silence(&mut self) -> Outcome {
        sleep(SILENCE).await;
        self.nothing_more()
    }

    /// Fails if a message is here that nobody took.
    pub fn nothing_more(&mut self) -> Outcome {
        match self.all_so_far()?.first() {
            Some(message) => Err(format!(
                "unexpected message {:?} on {}",
                message.text(),
                message.topic
            )),
            None => Ok(()),
        }
    }

    /// Takes all messages that are here, without waiting.
    pub fn all_so_far(&mut self) -> Outcome<Vec<Message>> {
        while let Ok(news) = self.news.try_recv() {
            self.keep(news)?;
        }
        Ok(std::mem::take(&mut self.messages))
    }

    /// Waits until the broker ends the connection.
    pub async fn ended(&mut self) -> Outcome<String> {
        loop {
            match timeout(PATIENCE, self.news.recv()).await {
                Ok(Some(News::Ended(why))) => return Ok(why),
                Ok(Some(_)) => {}
                _ => return Err("the connection was not closed".into()),
            }
        }
    }

    /// DISCONNECT.
    pub async fn leave(mut self) -> Outcome {
        match &self.handle {
            Handle::V4(client) => text(client.disconnect().await)?,
            Handle::V5(client) => text(client.disconnect().await)?,
        }
        self.ended().await.map(|_| ())
    }

    /// Breaks the connection off without a DISCONNECT.
    pub async fn cut(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    fn keep(&mut self, news: News) -> Outcome {
        match news {
            News::Message(message) => self.messages.push(message),
            News::Ended(why) => return Err(format!("the connection ended: {why}")),
            other => self.others.push_back(other),
        }
        Ok(())
    }

    /// The next thing that is not a message.
    async fn next_other(&mut self, what: &str) -> Outcome<News> {
        loop {
            if let Some(news) = self.others.pop_front() {
                return Ok(news);
            }
            let news = self.next(what).await?;
            self.keep(news)?;
        }
    }

    async fn next(&mut self, what: &str) -> Outcome<News> {
        match timeout(PATIENCE, self.news.recv()).await {
            Ok(Some(news)) => Ok(news),
            Ok(None) => Err(format!("the connection is over, no {what}")),
            Err(_) => Err(format!("no {what} within {PATIENCE:?}")),
        }
    }
}

fn text<E: std::fmt::Display>(result: Result<(), E>) -> Outcome {
    result.map_err(|error| error.to_string())
}

fn v4_qos(qos: u8) -> v4::QoS {
    v4::qos(qos).unwrap_or(v4::QoS::AtMostOnce)
}

fn v5_qos(qos: u8) -> v5bytes::QoS {
    v5bytes::qos(qos).unwrap_or(v5bytes::QoS::AtMostOnce)
}

fn address() -> (String, u16) {
    let host = std::env::var("MQTT_HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("MQTT_PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(1883);
    (host, port)
}

/// Polls until the first error, which ends the connection; rumqttc itself would reconnect.
macro_rules! forward {
    ($version:ident, $events:ident, $sender:ident, $news:ident) => {
        tokio::spawn(async move {
            loop {
                let news = match $events.poll().await {
                    Ok($version::Event::Incoming(packet)) => $news(packet),
                    Ok($version::Event::Outgoing(_)) => None,
                    Err(why) => {
                        let _ = $sender.send(News::Ended(why.to_string()));
                        return;
                    }
                };
                if news.is_some_and(|news| $sender.send(news).is_err()) {
                    return;
                }
            }
        })
    };
}

fn start_v4(
    name: &str,
    options: &Options,
    sender: UnboundedSender<News>,
) -> (Handle, JoinHandle<()>) {
    let (host, port) = address();
    let mut made = v4::MqttOptions::new(name, host, port);
    made.set_clean_session(options.clean)
        .set_inflight(OPEN_MESSAGES_MAX);
    made.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if let Some(will) = &options.will {
        made.set_last_will(v4::LastWill::new(
            &will.topic,
            will.payload.as_str(),
            v4::QoS::AtLeastOnce,
            will.retain,
        ));
    }
    let (client, mut events) = v4::AsyncClient::new(made, 1000);
    let task = forward!(v4, events, sender, v4_news);
    (Handle::V4(client), task)
}

fn v4_news(packet: v4::Packet) -> Option<News> {
    Some(match packet {
        v4::Packet::ConnAck(connack) => News::Connected {
            session_present: connack.session_present,
        },
        v4::Packet::SubAck(suback) => News::Granted(
            suback
                .return_codes
                .iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                    v4::SubscribeReasonCode::Failure => 0x80,
                })
                .collect(),
        ),
        v4::Packet::UnsubAck(_) => News::Unsubscribed,
        v4::Packet::PubAck(_) | v4::Packet::PubComp(_) => News::Acknowledged,
        v4::Packet::Publish(publish) => News::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: None,
        }),
        _ => return None,
    })
}

fn start_v5(
    name: &str,
    options: &Options,
    sender: UnboundedSender<News>,
) -> (Handle, JoinHandle<()>) {
    let (host, port) = address();
    let mut made = v5::MqttOptions::new(name, host, port);
    made.set_clean_start(options.clean)
        .set_outgoing_inflight_upper_limit(OPEN_MESSAGES_MAX);
    made.set_connect_properties(v5bytes::v5::ConnectProperties {
        max_packet_size: Some(PACKET_BYTES_MAX),
        session_expiry_interval: (!options.clean).then_some(600),
        topic_alias_max: options.topic_alias_max,
        ..v5bytes::v5::ConnectProperties::new()
    });
    if let Some(will) = &options.will {
        made.set_last_will(v5bytes::v5::LastWill::new(
            &will.topic,
            will.payload.as_str(),
            v5bytes::QoS::AtLeastOnce,
            will.retain,
            None,
        ));
    }
    let (client, mut events) = v5::AsyncClient::new(made, 1000);
    let task = forward!(v5, events, sender, v5_news);
    (Handle::V5(client), task)
}

fn v5_news(packet: v5bytes::v5::Packet) -> Option<News> {
    use v5bytes::v5::{Packet, SubscribeReasonCode};
    Some(match packet {
        Packet::ConnAck(connack) => News::Connected {
            session_present: connack.session_present,
        },
        Packet::SubAck(suback) => News::Granted(
            suback
                .return_codes
                .iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(qos) => *qos as u8,
                    _ => 0x80,
                })
                .collect(),
        ),
        Packet::UnsubAck(_) => News::Unsubscribed,
        Packet::PubAck(_) | Packet::PubComp(_) => News::Acknowledged,
        Packet::Publish(publish) => News::Message(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: publish.properties,
        }),
        _ => return None,
    })
}
