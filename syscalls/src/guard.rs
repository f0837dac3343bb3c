//! Panics while a guest is served: they end that guest's process, not the sandbox. The executor runs a task's future in [`contained`]; the
//! process's panic hook asks [`is_contained`] to tell such panics from all others, after which nothing can go on.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
}

/// Whether a panic of this thread would end no more than a guest's process.
#[must_use]
pub fn is_contained() -> bool {
    CONTAINED.get() > 0
}

/// Turns a panic of `inner` into an error with its text.
pub(crate) fn contained<'a, T>(inner: impl Future<Output = T> + Send + 'a) -> Contained<'a, T> {
    Contained {
        inner: Box::pin(inner),
    }
}

/// See [`contained`].
pub(crate) struct Contained<'a, T> {
    inner: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

/// Counts for the time of a poll, also of one that unwinds.
struct Marked;

impl Marked {
    fn new() -> Self {
        CONTAINED.set(CONTAINED.get() + 1);
        Self
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        CONTAINED.set(CONTAINED.get() - 1);
    }
}

impl<T> Future for Contained<'_, T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = || {
            let _marked = Marked::new();
            self.inner.as_mut().poll(cx)
        };
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                Poll::Ready(Err(text.unwrap_or_else(|| "panic".to_owned())))
            }
        }
    }
}
