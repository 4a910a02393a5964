//! Requests' bodies, bounded in length and time.

use super::failure::Failure;
use super::media_type::MediaType;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// What is too long is still read so far, because a peer that is cut off while it sends may never
/// see our answer. None of it is kept.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
/// Room that is made for a body because of its announced length alone. More comes with its bytes.
const TRUSTED_BYTES_MAX: usize = 16 << 10;

/// The content type of a request.
pub(super) fn media_type(headers: &HeaderMap) -> MediaType<'_> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    MediaType::parse(value.unwrap_or_default())
}

/// Reads a body of so many bytes at most, within so much time.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    time_max: Duration,
) -> Result<Bytes, Failure> {
    let reading = timeout(time_max, collect(headers, body, bytes_max));
    reading.await.unwrap_or_else(|_| {
        let message = "the body did not arrive in time: send it at once, or check the network";
        Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message))
    })
}

async fn collect(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    let too_large =
        || Failure::too_large(format!("the body is longer than {bytes_max} bytes: send less"));
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Who asks first, by `Expect`, has sent nothing yet.
    let asks_first = headers.contains_key(header::EXPECT);
    if announced
        .is_some_and(|bytes| bytes > DISCARDED_BYTES_MAX || (asks_first && bytes > bytes_max))
    {
        return Err(too_large());
    }
    let mut kept = Vec::with_capacity(announced.unwrap_or_default().min(TRUSTED_BYTES_MAX));
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::bad("body_incomplete", "the body broke off"))?;
        let Some(data) = frame.data_ref() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > DISCARDED_BYTES_MAX {
            return Err(too_large());
        }
        if seen <= bytes_max {
            kept.extend_from_slice(data);
        } else {
            kept = Vec::new();
        }
    }
    if seen > bytes_max { Err(too_large()) } else { Ok(kept.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_are_read_up_to_the_bound() {
        let headers = HeaderMap::new();
        for (length, fits) in [(0, true), (99, true), (100, true), (101, false), (5 << 20, false)] {
            let body = Body::from(vec![b'x'; length]);
            let read = read(&headers, body, 100, Duration::from_secs(10)).await;
            match read {
                Ok(body) => assert!(fits && body.len() == length, "{length}"),
                Err(failure) => {
                    assert!(!fits, "{length}");
                    assert_eq!(failure.status, StatusCode::PAYLOAD_TOO_LARGE);
                    assert!(failure.message.contains("100 bytes"), "{}", failure.message);
                }
            }
        }
    }
}
