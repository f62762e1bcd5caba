//! `registrations add-key` and `remove-key`: public keys that an identity may prove itself with to the authorization server.

use std::path::PathBuf;

use clap::Args;
use countersign_api::{
    admin::{Registration, TokenKey},
    paths,
};
use countersign_identity::{SpiffeId, Timestamp};

use super::{CaArgs, CliError, Client, Output, listing};
use crate::service::pem;

/// What `add-key` is told.
#[derive(Args, Debug)]
pub(crate) struct AddKey {
    /// The identity; it must be registered.
    #[arg(value_name = "SPIFFE-ID")]
    spiffe_id: SpiffeId,
    /// The public key, PEM, P-256; `openssl pkey -in KEY -pubout` writes it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// From when it proves nothing any more, such as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    until: Timestamp,
    /// What assertions call it (kid). Default: its thumbprint (RFC 7638).
    #[arg(long, value_name = "KID")]
    id: Option<String>,
    /// Who holds the private key, in free words. Default: nobody is named.
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
}

/// What `remove-key` is told.
#[derive(Args, Debug)]
pub(crate) struct RemoveKey {
    /// The identity.
    #[arg(value_name = "SPIFFE-ID")]
    spiffe_id: SpiffeId,
    /// What assertions call the key; `registrations show` lists them.
    #[arg(value_name = "KID")]
    id: String,
}

pub(crate) fn add(ca: &CaArgs, args: AddKey, out: &Output) -> Result<(), CliError> {
    let public_key = std::fs::read_to_string(&args.file)
        .map_err(|error| CliError::failed(format_args!("cannot read {}: {error}", args.file.display())))?;
    // Before it leaves this process: a private key given by mistake is nobody's business.
    if pem::public_key(&public_key).is_none() {
        let (file, found) = (args.file.display(), pem::kind(&public_key));
        return Err(CliError::refused(format_args!(
            "{file} holds {found}, expected one PEM block \"PUBLIC KEY\""
        ))
        .hint("`openssl pkey -in KEY -pubout -out FILE` writes it"));
    }
    let client = ca.connect()?;
    let mut registration = registered(&client, &args.spiffe_id)?;
    let until = args.until.to_string();
    let key = TokenKey { kid: args.id, public_key, until, owner: args.owner, status: None };
    let known: Vec<_> = registration.token_keys.iter().map(|key| key.kid.clone()).collect();
    registration.token_keys.push(key);
    client.put(paths::ADMIN_REGISTRATIONS, &registration)?;
    // The CA named it, if the caller did not.
    let after = registered(&client, &args.spiffe_id)?;
    let added = after.token_keys.into_iter().find(|key| !known.contains(&key.kid));
    let added = added.ok_or_else(|| CliError::failed("somebody else removed the key at the same moment"))?;
    if out.is_json() {
        out.json(&added);
        return Ok(());
    }
    out.line(format_args!(
        "{} may prove itself with the key {}",
        args.spiffe_id,
        added.kid.unwrap_or_default()
    ));
    if after.tokens == "bound" {
        out.note(format_args!(
            "its tokens are bound to a certificate, which the client must show beside; `registrations set {} --keep \
             --tokens bearer` allows others",
            args.spiffe_id
        ));
    }
    Ok(())
}

pub(crate) fn remove(ca: &CaArgs, args: &RemoveKey, out: &Output) -> Result<(), CliError> {
    let client = ca.connect()?;
    let mut registration = registered(&client, &args.spiffe_id)?;
    let before = registration.token_keys.len();
    registration.token_keys.retain(|key| key.kid.as_deref() != Some(&args.id));
    if registration.token_keys.len() == before {
        let (id, kid) = (&args.spiffe_id, &args.id);
        return Err(CliError::refused(format_args!("{id} has no registered key {kid:?}"))
            .hint("`countersign registrations show` lists them"));
    }
    client.put(paths::ADMIN_REGISTRATIONS, &registration)?;
    if out.is_json() {
        out.json(&serde_json::json!({ "removed": args.id }));
        return Ok(());
    }
    out.line(format_args!("{} can no longer prove itself with the key {}", args.spiffe_id, args.id));
    out.note("tokens it has bought go on for at most 15 minutes");
    Ok(())
}

fn registered(client: &Client, id: &SpiffeId) -> Result<Registration, CliError> {
    listing::one(client, paths::ADMIN_REGISTRATIONS, ("id", id.as_str()), "registration of")
}

/// The keys of a registration, as people read them.
pub(crate) fn listed(keys: &[TokenKey]) -> Option<String> {
    let one = |key: &TokenKey| {
        let owner = key.owner.as_ref().map(|owner| format!(", {owner}")).unwrap_or_default();
        let status = key.status.as_deref().filter(|status| *status != "active");
        let status = status.map(|status| format!(", {status}")).unwrap_or_default();
        format!("{} (until {}{owner}{status})", key.kid.as_deref().unwrap_or_default(), key.until)
    };
    let texts: Vec<_> = keys.iter().map(one).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
