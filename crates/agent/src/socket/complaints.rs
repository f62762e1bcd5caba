//! What proxies say about the secrets they were sent, for the log: a line now and then, however much they say.

use tokio::time::Instant;

use super::connection::Connection;
use super::rarely::Rarely;
use crate::generated::sds::Refusal;
use crate::plain::plain;

/// The longest piece of a caller's words in a line, in characters.
const LONGEST: usize = 200;

/// Who complained when.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    lines: Rarely,
}

impl Complaints {
    /// A proxy that refuses what it was sent keeps what it had: an operator should know. For callers that were sent
    /// something; whoever else complains is nobody's concern.
    pub(super) fn heed(
        &self,
        refusal: Option<&Refusal>,
        caller: &Connection,
        node: Option<&str>,
        names: &[String],
    ) {
        let uid = caller.caller.uid();
        let Some((refusal, passed_over)) =
            refusal.and_then(|refusal| Some((refusal, self.lines.due(uid, Instant::now())?)))
        else {
            return;
        };
        tracing::warn!(
            uid,
            pid = caller.caller.pid(),
            node = node.map(|node| plain(node, LONGEST)),
            names = plain(&names.join(" "), LONGEST),
            code = refusal.code,
            passed_over,
            "a proxy refuses the secrets it was sent and keeps those it had: {}",
            plain(&refusal.message, LONGEST)
        );
    }
}
