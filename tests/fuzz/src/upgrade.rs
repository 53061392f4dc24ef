//! The request in front of a WebSocket: any bytes are answered once and for all, in HTTP.

use midge::limits::HTTP_HEAD_BYTES_MAX;
use midge::net::upgrade::answer;

pub fn run(data: &[u8]) {
    let origins = ["http://here".to_owned()];
    let (origins, bytes) = match data {
        [first, rest @ ..] if first % 2 == 1 => (&origins[..], rest),
        [_, rest @ ..] => (&[][..], rest),
        [] => return,
    };
    let whole = answer(bytes, origins);
    match &whole {
        Ok(None) => assert!(bytes.len() < HTTP_HEAD_BYTES_MAX),
        Ok(Some(upgrade)) => {
            assert!(upgrade.request_bytes <= bytes.len().min(HTTP_HEAD_BYTES_MAX));
            assert!(upgrade.response.starts_with(b"HTTP/1.1 101 "));
            assert!(upgrade.response.ends_with(b"\r\n\r\n"));
            // What stands behind the request changes nothing.
            let exact = answer(&bytes[..upgrade.request_bytes], origins);
            assert_eq!(exact, whole);
        }
        Err(refused) => {
            let text = std::str::from_utf8(&refused.response).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("HTTP/1.1 "));
            let length = head.split("Content-Length: ").nth(1).expect("a length");
            assert_eq!(
                length.split("\r\n").next(),
                Some(body.len().to_string().as_str())
            );
        }
    }
    for end in (0..bytes.len()).step_by(7) {
        let part = answer(&bytes[..end], origins);
        assert!(part == Ok(None) || part.is_err() || part == whole, "{end}");
    }
}
