//! Stopped at every stage, of an enrollment and of a renewal: the next start completes the work.

use std::path::Path;
use std::sync::Arc;

use countersign_agent::{
    AgentError, Dir, EnrollOptions, Interrupted, RenewOptions, Stage, Stages, enroll, renew,
};
use countersign_testkit::noon_clock;

use crate::ca::{Ca, certified_key_of, public_key_of};

/// Stops the work at one stage and leaves everything as it lies.
#[derive(Debug)]
struct StopAt(Stage);

impl Stages for StopAt {
    fn reached(&self, stage: Stage) -> Result<(), Interrupted> {
        if stage == self.0 { Err(Interrupted(stage)) } else { Ok(()) }
    }
}

fn certificate_and_key_belong_together(dir: &Path) {
    if dir.join("current").exists() {
        assert_eq!(public_key_of(&dir.join("svid.key")), certified_key_of(&dir.join("svid.pem")));
    }
}

fn expect_stop<T: std::fmt::Debug>(end: Result<T, AgentError>, stage: Stage) {
    let error = end.unwrap_err();
    assert!(error.to_string().contains(stage.as_str()), "{error}");
}

#[tokio::test]
async fn an_enrollment_stopped_at_any_stage_is_completed_by_the_next() {
    // Invariant 2.
    for stage in Stage::ALL {
        let ca = Ca::start(noon_clock()).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock());
        expect_stop(enroll(&options.clone().stages(Arc::new(StopAt(stage)))).await, stage);
        certificate_and_key_belong_together(scratch.path());
        enroll(&options).await.unwrap();
        certificate_and_key_belong_together(scratch.path());
        assert_eq!(ca.issued(), 1, "one key, one certificate, stopped at {stage:?}");
    }
}

#[tokio::test]
async fn a_renewal_stopped_at_any_stage_is_completed_by_the_next() {
    // Invariant 2.
    for stage in Stage::ALL {
        let ca = Ca::start(noon_clock()).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock());
        let first = enroll(&options).await.unwrap();
        let dir = Dir::at(scratch.path());
        let options = RenewOptions::default().clock(noon_clock());
        expect_stop(renew(&dir, &options.clone().stages(Arc::new(StopAt(stage)))).await, stage);
        certificate_and_key_belong_together(scratch.path());
        let published = dir.identity().unwrap().unwrap();
        assert_eq!(published != first, stage == Stage::CurrentSwapped);
        let next = renew(&dir, &options).await.unwrap();
        certificate_and_key_belong_together(scratch.path());
        assert_ne!(next.serial(), first.serial());
        // Once the new certificate is in place, the next renewal is another one, with a key of its own.
        let expected = if stage == Stage::CurrentSwapped { 3 } else { 2 };
        assert_eq!(ca.issued(), expected, "stopped at {stage:?}");
    }
}
