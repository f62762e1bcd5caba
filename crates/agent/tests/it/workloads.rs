//! What the authority of these tests answers about workloads and tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_api::{Audience, Bundle, BundleKey, JwtSvidResponse, ProblemCode, WorkloadRegistration};
use rcgen::{PublicKeyData as _, SigningKey as _};
use serde_json::json;

use crate::ca::{Answer, Asked, Ca, PAYMENTS, problem};

const JWT_LIFE: Duration = Duration::from_secs(300);
const KID: &str = "jwt-1";

impl Ca {
    /// From now on these identities are registered under the machine, each with its selectors.
    pub(crate) fn register(&self, workloads: &[(&str, &[&str])]) {
        let registrations = workloads
            .iter()
            .map(|(id, selectors)| WorkloadRegistration {
                spiffe_id: (*id).to_owned(),
                selectors: selectors.iter().map(ToString::to_string).collect(),
                until: None,
            })
            .collect();
        self.workloads.send_modify(|told| {
            told.sequence += 1;
            told.registrations = registrations;
        });
    }

    /// Holds a request that knows the newest until there is a newer one.
    pub(crate) async fn hold(&self, query: &str) {
        let after: Option<u64> = query.strip_prefix("after=").and_then(|after| after.parse().ok());
        let mut workloads = self.workloads.subscribe();
        let newer = workloads.wait_for(|told| Some(told.sequence) != after);
        let _ = tokio::time::timeout(Duration::from_secs(55), newer).await;
    }

    pub(crate) fn workload(&self, asked: &Asked) -> Answer {
        let id = asked.body["spiffe_id"].as_str().unwrap();
        if !self.workloads.borrow().registrations.iter().any(|workload| workload.spiffe_id == id) {
            return problem(403, ProblemCode::RegistrationUnknown);
        }
        self.certify(id, asked)
    }

    pub(crate) fn jwt_svid(&self, asked: &Asked) -> Answer {
        let id = asked.body["spiffe_id"].as_str().unwrap();
        let is_registered = self.workloads.borrow().registrations.iter().any(|it| it.spiffe_id == id);
        if id != PAYMENTS && !is_registered {
            return problem(403, ProblemCode::RegistrationUnknown);
        }
        let audience: Audience = serde_json::from_value(asked.body["audience"].clone()).unwrap();
        let expires = self.now() + JWT_LIFE;
        let claims = json!({"sub": id, "aud": audience, "exp": expires.unix(), "iat": self.now().unix()});
        let answer = JwtSvidResponse {
            spiffe_id: id.into(),
            svid: self.token(&json!({"alg": "ES256", "kid": KID, "typ": "JWT"}), &claims),
            expires: expires.to_string(),
            server_time: self.now().to_string(),
        };
        (200, serde_json::to_string(&answer).unwrap())
    }

    /// A token signed by the key that the bundle names.
    pub(crate) fn token(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = raw(&self.jwt_key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn bundle(&self) -> Answer {
        let point = self.jwt_key.der_bytes();
        let root = x509_parser::parse_x509_certificate(self.root()).unwrap().1;
        let root_point = root.public_key().subject_public_key.data.to_vec();
        let key = |usage: &str, point: &[u8]| BundleKey {
            usage: usage.into(),
            kty: "EC".into(),
            crv: "P-256".into(),
            x: URL_SAFE_NO_PAD.encode(&point[1..33]),
            y: URL_SAFE_NO_PAD.encode(&point[33..65]),
            kid: None,
            x5c: None,
        };
        let x509 =
            BundleKey { x5c: Some(vec![STANDARD.encode(self.root())]), ..key("x509-svid", &root_point) };
        let jwt = BundleKey { kid: Some(KID.into()), ..key("jwt-svid", point) };
        let bundle = Bundle {
            keys: vec![x509, jwt],
            spiffe_sequence: u64::try_from(self.documents.lock().unwrap().len()).unwrap(),
            spiffe_refresh_hint: 300,
        };
        (200, serde_json::to_string(&bundle).unwrap())
    }
}

/// An ECDSA signature as JWS has it, from the DER that rcgen gives.
pub(crate) fn raw(der: &[u8]) -> Vec<u8> {
    let (first, rest) = (usize::from(der[3]), &der[4..]);
    let (r, s) = (&rest[..first], &rest[first + 2..]);
    let padded = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|octet| *octet == 0).collect();
        [vec![0; 32 - digits.len()], digits].concat()
    };
    [padded(r), padded(s)].concat()
}
