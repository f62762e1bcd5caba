//! JWT-SVIDs (SPIFFE JWT-SVID): short words about who a machine or workload is, for callers that cannot do TLS to the end.

use std::time::Duration;

use countersign_identity::{Serial, SpiffeId, Timestamp};
use countersign_issuance::{LedgerError, LedgerRefusal};
use serde::Serialize;

use super::{Ca, Refused, renew::may_act};

/// How long one is good: long enough for an agent to fetch ahead of need, short enough that nobody has to revoke it.
const LIFE: Duration = Duration::from_secs(300);
/// How many audiences one may name, and how long each may be.
const MOST_AUDIENCES: usize = 16;
const LONGEST_AUDIENCE: usize = 512;

/// A signed JWT-SVID.
#[derive(Clone, Debug)]
pub struct JwtSvid {
    /// The compact JWS.
    pub token: String,
    /// Its last second.
    pub expires: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a [String],
    iat: i64,
    exp: i64,
    /// The certificate it was asked for with, where our own authorization server is the only audience: what is bought with it dies
    /// with that. Nobody else is told which it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    cs_serial: Option<String>,
}

impl Ca {
    /// A JWT-SVID for the machine that presented a certificate, or for one of its workloads.
    ///
    /// # Errors
    /// When the caller may not have it, or the audience is not what it should be.
    pub async fn jwt_svid(
        &self,
        presented: Serial,
        id: &SpiffeId,
        audience: &[String],
    ) -> Result<JwtSvid, Refused> {
        check_audience(audience)?;
        let caller = self.acting_machine(presented)?;
        let registered = match caller.spiffe_id == *id {
            true => self.book().registration(id)?,
            false => Some(self.child(&caller, id)?),
        };
        let now = self.now();
        let gone = LedgerError::Refused(LedgerRefusal::RegistrationGone);
        let registration = registered.ok_or_else(|| gone.clone())?;
        if let Some(workload) = self.book().workload(caller.id, id)? {
            may_act(workload.status)?;
        }
        self.rates().token(&caller.spiffe_id).map_err(|wait| Refused::TooOften {
            id: caller.spiffe_id.clone(),
            limit: self.limits().tokens_per_second_per_identity.saturating_mul(60),
            retry_after: wait.as_secs() + 1,
        })?;
        let end = registration.until.map_or(now + LIFE, |until| until.min(now + LIFE));
        if end <= now {
            return Err(gone.into());
        }
        let keys = self.keys();
        let claims = Claims {
            sub: id.as_str(),
            aud: audience,
            iat: now.unix(),
            exp: end.unix(),
            cs_serial: (audience == [self.token_issuer()]).then(|| presented.to_string()),
        };
        let claims = serde_json::to_vec(&claims).map_err(|error| Refused::File(error.to_string()))?;
        let signed = keys.jwt_svid().sign(&claims).await;
        let token = signed.map_err(|error| Refused::File(error.to_string()))?;
        self.metrics().count_issued("jwt_svid");
        Ok(JwtSvid { token, expires: end })
    }
}

fn check_audience(audience: &[String]) -> Result<(), Refused> {
    let good = |name: &String| (1..=LONGEST_AUDIENCE).contains(&name.len());
    if (1..=MOST_AUDIENCES).contains(&audience.len()) && audience.iter().all(good) {
        return Ok(());
    }
    Err(Refused::Parameter {
        what: "audience",
        found: format!("{} names", audience.len()),
        expected: format!("1 to {MOST_AUDIENCES} names of 1 to {LONGEST_AUDIENCE} octets"),
    })
}
