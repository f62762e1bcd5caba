//! The ways to the CA: the addresses of one CA, the one that answered last first.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::endpoint::Endpoint;

/// The addresses of one CA. None is trusted: whoever answers must be the pinned CA.
#[derive(Debug)]
pub(crate) struct Route {
    endpoints: Vec<Endpoint>,
    lead: AtomicUsize,
}

impl Route {
    /// The addresses, most wanted first.
    pub(crate) fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self { endpoints: endpoints.into_iter().collect(), lead: AtomicUsize::new(0) }
    }

    /// Every address once, beginning with the one that answered last.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let (count, lead) = (self.endpoints.len(), self.lead.load(Ordering::Relaxed));
        (0..count).filter_map(move |n| {
            let at = (lead + n) % count;
            self.endpoints.get(at).map(|endpoint| (at, endpoint))
        })
    }

    /// The address at `at` answered.
    pub(crate) fn answered(&self, at: usize) {
        self.lead.store(at, Ordering::Relaxed);
    }
}

impl Clone for Route {
    fn clone(&self) -> Self {
        Self { endpoints: self.endpoints.clone(), lead: AtomicUsize::new(self.lead.load(Ordering::Relaxed)) }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.in_turn().map(|(_, endpoint)| endpoint.to_string()).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_answered_last_comes_first_and_none_is_left_out() {
        let route = Route::new(["https://a", "https://b:1", "https://c"].map(|url| url.parse().unwrap()));
        assert_eq!(route.to_string(), "https://a:443, https://b:1, https://c:443");
        route.answered(1);
        assert_eq!(route.to_string(), "https://b:1, https://c:443, https://a:443");
    }
}
