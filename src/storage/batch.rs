//! Changes on their way to the database: a row of operations in bytes, applied as one transaction.
//! They stay here until it is known that they are safe, so that a disk that was full is tried again
//! with nothing lost, and the same bytes can be written ahead of the transaction.
//!
//! ```text
//!   operation:  number of its statement | count of values | value ...
//!   value:      0                                 nothing
//!               1 | eight bytes                   a number
//!               2, 3 | length (u32) | bytes       text, bytes
//! ```

use super::schema::Op;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'v> {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// Text.
    Text(&'v str),
    /// Bytes.
    Bytes(&'v [u8]),
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// Operations, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// Adds one operation.
    pub fn push(&mut self, op: Op, values: &[Value<'_>]) {
        self.bytes.push(op as u8);
        // No statement has more than a dozen.
        self.bytes
            .push(u8::try_from(values.len()).unwrap_or(u8::MAX));
        for value in values {
            match value {
                Value::Null => self.bytes.push(0),
                Value::Int(number) => {
                    self.bytes.push(1);
                    self.bytes.extend_from_slice(&number.to_le_bytes());
                }
                Value::Text(text) => self.push_bytes(2, text.as_bytes()),
                Value::Bytes(bytes) => self.push_bytes(3, bytes),
            }
        }
    }

    /// Adds the count of the commit that this batch is to be.
    pub fn push_generation(&mut self, generation: u64) {
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        self.push(Op::MetaPut, &[Value::Text("tail"), Value::Int(generation)]);
    }

    fn push_bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.bytes.push(kind);
        // Everything has come in one packet, which is below 2^28 bytes.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of all of them.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of those that came behind the first `length` bytes.
    pub fn behind(&self, length: usize) -> &[u8] {
        self.bytes.get(length..).unwrap_or_default()
    }

    /// Adds operations that were [`Batch::behind`] others once.
    pub fn extend(&mut self, operations: &[u8]) {
        self.bytes.extend_from_slice(operations);
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(super::BATCH_KEPT_BYTES);
    }

    /// Each operation.
    pub fn iter(&self) -> Operations<'_> {
        Operations { rest: &self.bytes }
    }
}

/// The operations of a batch.
pub struct Operations<'b> {
    rest: &'b [u8],
}

impl<'b> Operations<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn value(&mut self) -> Option<Value<'b>> {
        Some(match self.take(1)? {
            [0] => Value::Null,
            [1] => Value::Int(i64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            [kind] => {
                let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
                let bytes = self.take(usize::try_from(length).ok()?)?;
                match kind {
                    2 => Value::Text(std::str::from_utf8(bytes).ok()?),
                    _ => Value::Bytes(bytes),
                }
            }
            _ => return None,
        })
    }
}

impl<'b> Iterator for Operations<'b> {
    type Item = (Op, Vec<Value<'b>>);

    fn next(&mut self) -> Option<Self::Item> {
        let [op, count] = self.take(2)? else {
            return None;
        };
        let op = Op::from_number(*op)?;
        let values: Option<Vec<_>> = (0..*count).map(|_| self.value()).collect();
        Some((op, values?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut batch = Batch::default();
        let first = [
            Value::Int(-7),
            Value::Null,
            Value::Text("tea"),
            Value::Bytes(&[0, 255]),
        ];
        batch.push(Op::QueuePut, &first);
        batch.push(Op::QueueDrop, &[Value::Int(i64::MAX)]);
        let all: Vec<_> = batch.iter().collect();
        assert_eq!(
            all,
            [
                (Op::QueuePut, first.to_vec()),
                (Op::QueueDrop, vec![Value::Int(i64::MAX)])
            ]
        );
        batch.bytes.pop();
        assert_eq!(batch.iter().count(), 1, "a torn end is no operation");
        batch.clear();
        assert!(batch.is_empty());
    }
}
