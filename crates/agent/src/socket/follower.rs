//! What one caller may know at each moment: waited for, and told again whenever it changes.

use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{SpiffeId, TrustDomain};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use super::connection::Connection;
use crate::custody::{InUse, Svid, Trouble, View};
use crate::schedule::TICK;

/// How long a caller without an identity waits for one before it is told that there is none. Many clients do not ask
/// again after that answer, and a registration made just before the process began may be on its way.
const GRACE: Duration = Duration::from_secs(3);
/// How long a caller that has a right to an identity waits for it to be issued.
const ISSUANCE: Duration = Duration::from_secs(10);

/// Follows one caller's identities.
pub(super) struct Follower {
    connection: Arc<Connection>,
    view: watch::Receiver<Arc<View>>,
    begun: Instant,
    in_use: Option<InUse>,
}

/// What a caller may know at one moment.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its identities, the default first; never empty.
    pub(super) svids: Vec<Arc<Svid>>,
    /// The rest of what there is.
    pub(super) view: Arc<View>,
}

impl Follower {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let view = connection.custody.watch();
        Self { connection, view, begun: Instant::now(), in_use: None }
    }

    /// Who is followed.
    pub(super) fn caller(&self) -> &Connection {
        &self.connection
    }

    /// The identities that the caller has a right to now, after the grace; at least one.
    pub(super) async fn entitled(&mut self) -> Result<(Vec<SpiffeId>, Arc<View>), Status> {
        loop {
            let process = self.connection.selectors().await;
            let view = Arc::clone(&self.view.borrow_and_update());
            let ids = view.entitled(&process, self.connection.custody.now());
            if !ids.is_empty() {
                return Ok((ids, view));
            }
            let left = GRACE.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                let (pid, uid) = (self.connection.caller.pid(), self.connection.caller.uid());
                if let Some(passed_over) = self.connection.strangers.due(uid, Instant::now()) {
                    tracing::info!(
                        pid,
                        uid,
                        passed_over,
                        "a process asked for its identity and none is registered for it"
                    );
                }
                return Err(Status::permission_denied("no identity issued"));
            }
            self.wait(left).await;
        }
    }

    /// The trust domain, for a caller that has some identity in it, once what is to be told of it is known.
    pub(super) async fn domain(
        &mut self,
        is_known: fn(&View) -> bool,
    ) -> Result<(TrustDomain, Arc<View>), Status> {
        loop {
            let (_, view) = self.entitled().await?;
            if let Some(domain) = view.trust_domain.clone().filter(|_| is_known(&view)) {
                return Ok((domain, view));
            }
            let left = ISSUANCE.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Err(Status::unavailable("the CA has not told the keys of the trust domain yet"));
            }
            self.wait(left).await;
        }
    }

    /// The identities that the caller has now, issued if need be.
    pub(super) async fn held(&mut self) -> Result<Known, Status> {
        loop {
            let (ids, view) = self.entitled().await?;
            self.use_these(&ids);
            let now = self.connection.custody.now();
            let svids: Vec<_> = ids.iter().filter_map(|id| view.svid(id, now).cloned()).collect();
            let left = ISSUANCE.saturating_sub(self.begun.elapsed());
            if svids.len() == ids.len() || left.is_zero() && !svids.is_empty() {
                return Ok(Known { svids, view });
            }
            let troubles: Vec<_> = ids.iter().map(|id| view.troubles.get(id)).collect();
            // An identity that will not come keeps nobody from the others.
            if !svids.is_empty() && troubles.iter().flatten().count() + svids.len() >= ids.len() {
                return Ok(Known { svids, view });
            }
            if left.is_zero() || troubles.iter().all(Option::is_some) {
                return Err(status_of(troubles.into_iter().flatten().next()));
            }
            self.wait(left).await;
        }
    }

    /// What the caller is to be told next: at once the first time, later when it differs from what was told.
    pub(super) async fn next(&mut self, told: Option<&Known>) -> Result<Known, Status> {
        loop {
            let known = self.held().await?;
            if told.is_none_or(|told| !known.says_the_same_as(told)) {
                return Ok(known);
            }
            self.wait(TICK).await;
        }
    }

    /// Waits for a change, but no longer than `limit`: time alone ends certificates and registrations.
    pub(super) async fn wait(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.view.changed()).await;
    }

    fn use_these(&mut self, ids: &[SpiffeId]) {
        if self.in_use.as_ref().is_none_or(|in_use| in_use.ids() != ids) {
            self.in_use = Some(self.connection.custody.use_of(ids.iter().cloned()));
        }
    }
}

impl Known {
    /// Whether a caller that was told the one need not be told the other.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let serials = |known: &Self| known.svids.iter().map(|svid| svid.serial()).collect::<Vec<_>>();
        serials(self) == serials(other) && self.view.roots == other.view.roots
    }
}

/// Why there is no certificate for somebody who has a right to one.
fn status_of(trouble: Option<&Trouble>) -> Status {
    match trouble {
        Some(Trouble::Refused(why)) => Status::permission_denied(format!("no identity issued: {why}")),
        Some(Trouble::Away(why)) => Status::unavailable(format!("the identity is not there yet: {why}")),
        None => Status::unavailable("the identity is not there yet"),
    }
}

/// A stream of messages made by a task that ends when the caller hangs up.
pub(super) fn stream<T, F, W>(work: F) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<Result<T, Status>>) -> W + Send + 'static,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let hung_up = sender.clone();
        tokio::select! {
            () = hung_up.closed() => {}
            end = work(sender) => if let Err(status) = end {
                let _ = hung_up.send(Err(status)).await;
            }
        }
    });
    ReceiverStream::new(receiver)
}
