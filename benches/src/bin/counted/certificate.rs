//! From a request to a signed certificate, with a book that says yes.

use std::{hint::black_box, sync::Arc};

use anyhow::{Context as _, Result};
use countersign_bench::{
    corridor::{Corridor, registration},
    tls,
};
use countersign_identity::{Lineage, MachineId, Serial};
use countersign_issuance::{Act, BoxFuture, Intent, Ledger, LedgerError, ProvenKey, Source};
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};

use crate::NOON;

/// A fixed one: what checking a signature costs varies by a percent from one to the next.
const REQUEST: &[u8] = include_bytes!("request.pem");

pub(crate) async fn walk(times: u32) -> Result<()> {
    let (corridor, pen) = Corridor::new("bench.example", "lifetime = \"1h\"", NOON).await?;
    let registration = registration("spiffe://bench.example/counted".parse()?, NOON);
    let request = CertificateSigningRequestDer::from_pem_slice(REQUEST).context("the fixture is PEM")?;
    let algorithms = [tls::p256_verification()?];
    for number in 0..times {
        let key = ProvenKey::from_csr(&request, &algorithms)?;
        let mut serial = [1; 18];
        serial[14..].copy_from_slice(&number.to_be_bytes());
        let (serial, lineage) = (Serial::from_random(serial), Lineage::from_random([2; 16]));
        let prepared = corridor.prepare(key, &registration, serial, lineage, NOON)?;
        let machine = MachineId::from_random([3; 8]);
        let act = Act::Renew { machine, presented: serial, source: Source { addr: None } };
        let issued = prepared.record(&Yes, act).await?.sign(&pen, &Yes).await?;
        black_box(issued.der());
    }
    Ok(())
}

/// Records nothing.
struct Yes;

impl Ledger for Yes {
    fn record(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        black_box(intent);
        Box::pin(async { Ok(()) })
    }

    fn keep(&self, _: Serial, certificate: Arc<[u8]>) {
        black_box(certificate);
    }
}
