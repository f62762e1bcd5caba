//! Revocation lists no honest issuer would make.

use std::time::Duration;

use countersign_identity::Timestamp;
use countersign_testkit::{Authority, noon};
use rustls::pki_types::CertificateRevocationListDer;

use crate::resigned::{INTEGER, SEQUENCE, ce, der, extension, inside, signed};

pub(crate) const NUMBER: u8 = 20;
pub(crate) const DELTA: u8 = 27;
pub(crate) const POINT: u8 = 28;

/// A list in the making, of an hour around noon.
pub(crate) struct ListForge<'a> {
    issuer: &'a Authority,
    begins: Timestamp,
    ends: Option<Timestamp>,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

impl<'a> ListForge<'a> {
    pub(crate) fn new(issuer: &'a Authority, number: u8, serials: &[&[u8]]) -> Self {
        let begins = noon() - Duration::from_secs(1800);
        let entries = serials.iter().map(|serial| entry(serial, &[])).collect();
        let extensions = vec![extension(&ce(NUMBER), false, &[INTEGER, 1, number])];
        Self { issuer, begins, ends: Some(noon() + Duration::from_secs(1800)), entries, extensions }
    }

    pub(crate) fn at(self, begins: Timestamp, ends: Option<Timestamp>) -> Self {
        Self { begins, ends, ..self }
    }

    /// One revoked certificate.
    pub(crate) fn entry(mut self, entry: Vec<u8>) -> Self {
        self.entries.push(entry);
        self
    }

    pub(crate) fn with(mut self, last: u8, critical: bool, content: &[u8]) -> Self {
        self.extensions.push(extension(&ce(last), critical, content));
        self
    }

    pub(crate) fn without_number(mut self) -> Self {
        self.extensions.remove(0);
        self
    }

    /// Speaks for these only: the fields of an issuing distribution point.
    pub(crate) fn only(self, fields: &[u8]) -> Self {
        self.with(POINT, true, &der(SEQUENCE, &[fields]))
    }

    pub(crate) fn forge(self) -> CertificateRevocationListDer<'static> {
        let certificate = inside(&inside(self.issuer.certificate())[0]);
        let (algorithm, name) = (&certificate[2], &certificate[5]);
        let entries = der(SEQUENCE, &[&self.entries.concat()]);
        let extensions = der(0xa0, &[&der(SEQUENCE, &[&self.extensions.concat()])]);
        let ends = self.ends.map(time).unwrap_or_default();
        let entries = if self.entries.is_empty() { Vec::new() } else { entries };
        let head = [&[INTEGER, 1, 1][..], algorithm, name, &time(self.begins), &ends].concat();
        signed(&der(SEQUENCE, &[&head, &entries, &extensions]), algorithm, self.issuer.key()).into()
    }
}

/// One revoked certificate.
pub(crate) fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = if extensions.is_empty() { Vec::new() } else { der(SEQUENCE, &[&extensions.concat()]) };
    der(SEQUENCE, &[&der(INTEGER, &[serial]), &time(noon()), &extensions])
}

fn time(at: Timestamp) -> Vec<u8> {
    let (year, month, day, hour, minute, second) = at.civil();
    let text = format!("{:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z", year % 100);
    der(0x17, &[text.as_bytes()])
}

/// `distributionPoint [0]` with one URI.
pub(crate) fn place(uri: &str) -> Vec<u8> {
    der(0xa0, &[&der(0xa0, &[&der(0x86, &[uri.as_bytes()])])])
}
