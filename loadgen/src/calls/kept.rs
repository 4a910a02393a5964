//! Requests to the ring that outlive whoever waits for them.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A request under way. Dropped before it has ended, it is not freed but leaked.
///
/// tokio-uring 0.5 keeps the buffer of a request that nobody waits for any more until its runtime ends,
/// and then frees it before it cancels the request: the kernel may still write to it. Calls end their
/// receives by themselves, so this is for what ends out of turn: a panic, a thread that gives up. The
/// socket and 2 KiB are lost then, and nothing else.
pub(super) struct Kept<T>(Option<Pin<Box<dyn Future<Output = T>>>>);

impl<T> Kept<T> {
    pub(super) fn new(request: impl Future<Output = T> + 'static) -> Self {
        Self(Some(Box::pin(request)))
    }
}

impl<T> Future for Kept<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Polled after its end, it stays pending.
        let Some(request) = &mut self.0 else { return Poll::Pending };
        let polled = request.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            std::mem::forget(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_under_way_is_never_freed_and_what_has_ended_is() {
        let buffer = Rc::new(());
        for (ends, owners) in [(true, 1), (false, 2)] {
            let held = Rc::clone(&buffer);
            let mut request = Kept::new(async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                drop(held);
            });
            let polled = Pin::new(&mut request).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled.is_ready(), ends);
            drop(request);
            assert_eq!(Rc::strong_count(&buffer), owners);
        }
    }
}
