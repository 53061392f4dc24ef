//! The properties of a message as mosquitto's plugin writes them: JSON, each with the
//! specification's name in lower case, Correlation Data in hexadecimal digits.
//!
//! ```text
//!   [{"identifier":"user-property","name":"k","value":"v"},
//!    {"identifier":"payload-format-indicator","value":1}]
//! ```

use super::super::gather::lasting;
use crate::bytes::{Reader, put_variable};
use crate::codec::property::{Properties, Property, PropertyHolder};
use serde_json::{Map, Value};

const PAYLOAD_FORMAT_INDICATOR: &str = "payload-format-indicator";
const CONTENT_TYPE: &str = "content-type";
const RESPONSE_TOPIC: &str = "response-topic";
const CORRELATION_DATA: &str = "correlation-data";
const USER_PROPERTY: &str = "user-property";

/// Properties as a message keeps them, as text; `None`: there are none.
pub fn write(properties: &[u8]) -> Option<String> {
    let each = Properties::trusted(properties).iter().filter_map(object);
    let all: Vec<Value> = each.collect();
    (!all.is_empty()).then(|| Value::from(all).to_string())
}

fn object(property: Property<'_>) -> Option<Value> {
    let (identifier, name, value) = match property {
        Property::PayloadFormatIndicator(is_text) => {
            (PAYLOAD_FORMAT_INDICATOR, None, u8::from(is_text).into())
        }
        Property::ContentType(text) => (CONTENT_TYPE, None, text.into()),
        Property::ResponseTopic(text) => (RESPONSE_TOPIC, None, text.into()),
        Property::CorrelationData(data) => {
            let digits = data.iter().map(|byte| format!("{byte:02x}"));
            (CORRELATION_DATA, None, digits.collect::<String>().into())
        }
        Property::UserProperty(name, value) => (USER_PROPERTY, Some(name), value.into()),
        // No other lasts with a message.
        _ => return None,
    };
    let mut object = Map::new();
    object.insert("identifier".to_owned(), identifier.into());
    if let Some(name) = name {
        object.insert("name".to_owned(), name.into());
    }
    object.insert("value".to_owned(), value);
    Some(object.into())
}

/// The same backwards; `None`: it makes no sense. What belongs to one hop is left out.
pub fn read(text: &str) -> Option<Vec<u8>> {
    let Value::Array(all) = serde_json::from_str(text).ok()? else {
        return None;
    };
    let mut bytes = Vec::new();
    for object in &all {
        encode(object, &mut bytes)?;
    }
    // The same check as a packet's own go through.
    let mut whole = Vec::with_capacity(bytes.len() + 4);
    let length = u32::try_from(bytes.len()).ok();
    let length = length.filter(|length| *length <= crate::limits::REMAINING_LENGTH_MAX)?;
    put_variable(&mut whole, length);
    whole.extend_from_slice(&bytes);
    let properties = Properties::read(&mut Reader::new(&whole), PropertyHolder::Publish);
    Some(lasting(properties.ok()?))
}

fn encode(object: &Value, out: &mut Vec<u8>) -> Option<()> {
    let text = |key| {
        let text = object.get(key)?.as_str()?;
        (text.len() <= usize::from(u16::MAX)).then_some(text)
    };
    let digits;
    let property = match text("identifier")? {
        PAYLOAD_FORMAT_INDICATOR => {
            let value = object.get("value")?.as_u64()?;
            Property::PayloadFormatIndicator(value != 0)
        }
        CONTENT_TYPE => Property::ContentType(text("value")?),
        RESPONSE_TOPIC => Property::ResponseTopic(text("value")?),
        CORRELATION_DATA => {
            digits = bytes(object.get("value")?.as_str()?)?;
            Property::CorrelationData(&digits)
        }
        USER_PROPERTY => Property::UserProperty(text("name")?, text("value")?),
        _ => return Some(()),
    };
    property.encode(out);
    Some(())
}

/// Bytes from hexadecimal digits, two each, as many as Binary Data can be.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
    bytes.filter(|bytes| bytes.len() <= usize::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mosquitto 2.1.2 has written of a PUBLISH with all that lasts.
    const THEIRS: &str = concat!(
        r#"[{"identifier":"user-property","name":"k","value":"v"},"#,
        r#"{"identifier":"payload-format-indicator","value":1},"#,
        r#"{"identifier":"content-type","value":"text/plain"},"#,
        r#"{"identifier":"response-topic","value":"re/ply"},"#,
        r#"{"identifier":"correlation-data","value":"0001"}]"#
    );

    #[test]
    fn what_mosquitto_writes_is_read_and_written() {
        let properties = read(THEIRS).unwrap();
        let mut expected = Vec::new();
        for property in [
            Property::UserProperty("k", "v"),
            Property::PayloadFormatIndicator(true),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("re/ply"),
            Property::CorrelationData(&[0, 1]),
        ] {
            property.encode(&mut expected);
        }
        assert_eq!(properties, expected);
        assert_eq!(write(&properties).as_deref(), Some(THEIRS));
        assert_eq!(write(&[]), None);
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        let long = "x".repeat(65_536);
        let long = format!(r#"[{{"identifier":"content-type","value":"{long}"}}]"#);
        for text in [
            "",
            "{}",
            "[1]",
            r#"[{"identifier":7}]"#,
            r#"[{"identifier":"user-property","value":"v"}]"#,
            r#"[{"identifier":"correlation-data","value":"0"}]"#,
            r#"[{"identifier":"correlation-data","value":"zz"}]"#,
            r#"[{"identifier":"content-type","value":"a"},{"identifier":"content-type","value":"b"}]"#,
            r#"[{"identifier":"content-type","value":"\u0000"}]"#,
            &long,
        ] {
            assert_eq!(read(text), None, "{text:.60}");
        }
        let hop = r#"[{"identifier":"topic-alias","value":3}]"#;
        assert_eq!(read(hop), Some(Vec::new()), "it belongs to one hop");
    }
}
