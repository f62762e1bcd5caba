//! Introspection at another authorization server (RFC 7662): it is asked about each token, and believed for a minute.

use std::fmt;
use std::sync::Arc;

use countersign_identity::{Clock, Timestamp};
use hyper::StatusCode;
use hyper::body::Bytes;

use super::access::AccessToken;
use super::client_proof::{ClientProof, Proven, encoded};
use super::members::Members;
use super::questions::Turns;
use super::refusal::TokenRefusal;
use super::verdicts::Ends;
use crate::clock::SystemClock;
use crate::own::SetupError;
use crate::source::{EndpointUrl, WebForm, WebRoots};

/// An introspection endpoint of another authorization server, and how this service proves itself there. Cloning shares the
/// connection and the turns to ask, and no verdict: each [`ForeignIssuer`](crate::ForeignIssuer) comes to its own.
///
/// An answer is believed for 60 seconds, for 10 where it is no; never past the token's end. While the endpoint is away, tokens that it
/// has not answered for in the last minute are not accepted: the service says that it cannot judge them (503), and lets nobody in.
#[derive(Clone)]
pub struct Introspection(Arc<Desk>);

struct Desk {
    form: WebForm,
    proof: ClientProof,
    turns: Turns,
}

impl Introspection {
    /// The endpoint at this URL (`introspection_endpoint`), whose server is known by its host name under these authorities; TLS 1.3.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn at(url: EndpointUrl, roots: &WebRoots, proof: ClientProof) -> Result<Self, SetupError> {
        Self::by(url, roots, proof, &(Arc::new(SystemClock) as _))
    }

    /// The same by another clock than the machine's.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn by(
        url: EndpointUrl,
        roots: &WebRoots,
        proof: ClientProof,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let form = WebForm::new(url, roots, clock, proof.on_connection())?;
        Ok(Self(Arc::new(Desk { form, proof, turns: Turns::default() })))
    }

    /// What its server answers about a token of `issuer`, if it does not say that it answers for none of this kind.
    pub(super) async fn answer(
        &self,
        issuer: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Bytes, TokenRefusal> {
        let unknown = |what: String| TokenRefusal::NotKnown { what };
        let proof = self.0.proof.now(issuer, now);
        let Proven { authorization, fields } =
            proof.ok_or_else(|| unknown(format!("this service cannot prove itself to {issuer}")))?;
        let token = format!("token={}&token_type_hint=access_token", encoded(token));
        let form = [token, fields].join("&");
        let form = form.trim_end_matches('&').to_owned();
        let answer = self.0.form.send(authorization.as_ref(), form).await;
        let fault = |what: String| unknown(format!("{}: {what}", self.0.form));
        match answer.map_err(fault)? {
            (StatusCode::OK, answer) => Ok(answer),
            (StatusCode::BAD_REQUEST, answer) if is_unsupported(&answer) => Err(TokenRefusal::NotActive),
            (status, _) => Err(fault(format!("it answers {status}"))),
        }
    }

    /// Turns to ask it, whoever does.
    pub(super) fn turns(&self) -> &Turns {
        &self.0.turns
    }
}

/// Whether a server says that it answers for no token of this kind, as RFC 7009 §2.2.1 has it for revocation: whoever sent
/// the token chose it, so that it is no fault of ours.
fn is_unsupported(answer: &[u8]) -> bool {
    let answer = Members::read(answer);
    answer.is_ok_and(|answer| answer.text("error") == Some("unsupported_token_type"))
}

impl Ends for AccessToken {
    fn end(&self) -> Timestamp {
        Self::end(self)
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("proof", &self.0.proof).finish_non_exhaustive()
    }
}
