//! Code made from `proto/` by a test (`the_generated_code_is_that_of_the_protos`), which also says when it is out of date.

/// The SPIFFE Workload API.
#[expect(unreachable_pub, unused_qualifications, clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
#[rustfmt::skip]
pub(crate) mod workload;

/// Envoy's secret discovery service.
#[expect(unreachable_pub, unused_qualifications, clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
#[rustfmt::skip]
pub(crate) mod sds;

/// What the reflection service tells of the Workload API.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("workload.bin");
