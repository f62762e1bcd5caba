//! `invite`: a one-time secret that lets a machine's key use a registration the first time.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use countersign_api::{
    admin::{InviteRequest, InviteResponse},
    paths,
};
use countersign_identity::duration;

use super::{CaArgs, CliError, Output, stated::StatedRegistration};

/// Make a one-time invitation and print it, and the registration behind it if there is none.
///
/// If the registration exists, what you state must be what it says; a difference is refused and named, and
/// `registrations set` changes it. The invitation alone goes to standard output, so that this works:
/// countersign-agent enroll --invitation "$(countersign invite …)" --dir DIR
#[derive(Args, Debug)]
pub(crate) struct InviteArgs {
    #[command(flatten)]
    stated: StatedRegistration,

    /// How long the invitation may be redeemed, such as 90s, 15m or 2h.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration::parse)]
    ttl: Duration,

    /// How many machines may redeem it; more than one needs --machines many.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,

    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: InviteArgs, out: &Output) -> Result<(), CliError> {
    let request = InviteRequest {
        stated: args.stated.fields(),
        registration: args.stated.into_registration(),
        ttl_seconds: args.ttl.as_secs(),
        uses: args.uses,
    };
    let id = request.registration.spiffe_id.clone();
    let answer: InviteResponse = args.ca.connect()?.post(paths::ADMIN_INVITATIONS, &request)?;
    if out.is_json() {
        out.json(&answer);
        return Ok(());
    }
    if !answer.invitation.is_empty() {
        out.line(&answer.invitation);
    }
    if answer.registration_created {
        out.remark(format_args!(
            "the registration of {id} is new; `countersign registrations show {id}` shows it"
        ));
    }
    if answer.invitation.is_empty() {
        out.remark("its machine's agent fetches its certificates: no invitation is needed");
        return Ok(());
    }
    out.remark(format_args!("redeem it before {}", out.when(&answer.expires)));
    out.note(format_args!("on the machine: {}", enroll_command(&answer.invitation)));
    Ok(())
}

/// The command to type on the machine. The secret is repeated only to the person who sees it anyway (invariant 8):
/// captured standard error often ends in a log.
fn enroll_command(invitation: &str) -> String {
    let seen = std::io::stdout().is_terminal();
    let shown = if seen { invitation } else { "INVITATION" };
    format!("countersign-agent enroll --invitation {shown} --dir DIR")
}
