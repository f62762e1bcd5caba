//! The command line: the command tree of DESIGN §6, one file per command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backup;
mod bundle;
mod certificate;
mod check;
mod client;
mod endpoint;
mod error;
mod events;
mod find;
mod import;
mod init;
mod inspect;
mod inspect_as;
mod invite;
mod issued;
mod issuer;
mod keys;
mod keystore;
mod listing;
mod machines;
mod output;
mod own;
mod policy;
mod policy_diff;
mod quickstart;
mod reach;
mod registrations;
mod reload;
mod remote;
mod restore;
mod result_file;
mod revoke;
mod serve;
mod stated;
mod token_keys;
mod trust_file;
mod verdict;

pub(crate) use client::Client;
pub(crate) use error::CliError;
pub(crate) use find::CaArgs;
pub(crate) use output::Output;

/// A certificate authority for machines: it enrolls them, renews their certificates, and gives services what they
/// need to tell who calls.
///
/// Commands that talk to a CA go through its unix socket; they find it in its configuration file. Exit codes: 0 done,
/// 1 refused or failed, 2 wrong usage or a configuration file that is not valid, 3 the CA could not be reached (try again
/// later).
#[derive(Debug, Parser)]
#[command(name = "countersign", version, propagate_version = false, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    ca: CaArgs,

    /// Print JSON for programs instead of text for people. Default: text.
    #[arg(long, global = true, help_heading = "Global options", display_order = 1001)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

/// Each command's help stands above its arguments, in its own file.
#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::QuickstartArgs),
    Init(init::InitArgs),
    Serve(serve::ServeArgs),
    Reload(reload::ReloadArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Invite(invite::InviteArgs),
    Registrations(registrations::RegistrationsArgs),
    Machines(machines::MachinesArgs),
    Issued(issued::IssuedArgs),
    Revoke(revoke::RevokeArgs),
    Issuer(issuer::IssuerArgs),
    Bundle(bundle::BundleArgs),
    Policy(policy::PolicyArgs),
    Keys(keys::KeysArgs),
    Events(events::EventsArgs),
    Inspect(inspect::InspectArgs),
    Check(check::CheckArgs),
}

/// Parses the arguments, runs the command, and turns its end into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return not_run(&told),
    };
    let out = Output::new(cli.json);
    match run(cli.command, &out).and_then(|()| out.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            error.exit_code()
        }
    }
}

/// Help, the version, or what is wrong with the arguments.
fn not_run(told: &clap::Error) -> ExitCode {
    match told.print() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let error = output::unwritten(&error);
            Output::new(false).error(&error);
            error.exit_code()
        }
        _ => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(1)),
    }
}

fn run(command: Command, out: &Output) -> Result<(), CliError> {
    match command {
        Command::Quickstart(args) => quickstart::run(args, out),
        Command::Init(args) => init::run(args, out),
        Command::Serve(args) => serve::run(args, out),
        Command::Reload(args) => reload::run(args, out),
        Command::Backup(args) => backup::run(args, out),
        Command::Restore(args) => restore::run(args, out),
        Command::Invite(args) => invite::run(args, out),
        Command::Registrations(args) => registrations::run(args, out),
        Command::Machines(args) => machines::run(args, out),
        Command::Issued(args) => issued::run(args, out),
        Command::Revoke(args) => revoke::run(args, out),
        Command::Issuer(args) => issuer::run(args, out),
        Command::Bundle(args) => bundle::run(args, out),
        Command::Policy(args) => policy::run(args, out),
        Command::Keys(args) => keys::run(args, out),
        Command::Events(args) => events::run(args, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Check(args) => check::run(args, out),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory as _};

    use super::*;

    /// Every command with its whole name, those with subcommands too.
    fn commands() -> Vec<(String, clap::Command)> {
        fn walk(name: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
            found.push((name.to_owned(), command.clone().bin_name(name)));
            // Help on help says nothing new.
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                walk(&format!("{name} {}", sub.get_name()), sub, found);
            }
        }
        let mut found = Vec::new();
        let mut root = Cli::command().term_width(100);
        root.build();
        walk("countersign", &root, &mut found);
        found
    }

    fn help(arg: &Arg) -> String {
        arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn the_command_tree_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_is_as_reviewed() {
        let mut manual = String::new();
        for (name, mut command) in commands() {
            let help = command.render_long_help().to_string();
            // The same in every command, so shown once, at the top.
            let own =
                if name == "countersign" { &*help } else { help.split("Global options:").next().unwrap() };
            manual.push_str(&format!("# {name}\n\n{}\n\n", own.trim_end()));
        }
        insta::with_settings!({ snapshot_path => "../../tests/cli", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("manual", manual);
        });
    }

    #[test]
    fn help_is_sentences() {
        let sentence = |text: &str| text.starts_with(char::is_uppercase) && text.contains(' ');
        for (name, command) in commands() {
            let about =
                command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
            assert!(sentence(&about), "{name}: {about:?}");
            for arg in command.get_arguments() {
                assert!(sentence(&help(arg)), "{name} {}: {:?}", arg.get_id(), help(arg));
            }
        }
    }

    #[test]
    fn every_flag_that_may_be_left_out_says_its_default() {
        for (name, command) in commands() {
            let optional =
                command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_required_set());
            for arg in optional.filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
                let shown = arg.get_action().takes_values() && !arg.get_default_values().is_empty();
                assert!(
                    shown || help(arg).contains("Default:"),
                    "{name} --{}: {:?}",
                    arg.get_id(),
                    help(arg)
                );
            }
        }
    }

    #[test]
    fn the_configuration_may_be_named_before_and_after_the_command() {
        for words in [
            ["countersign", "--config", "f", "machines", "list"],
            ["countersign", "machines", "--config", "f", "list"],
            ["countersign", "machines", "list", "--config", "f"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            let Command::Machines(args) = cli.command else { panic!("{words:?}") };
            assert_eq!(args.config(), Some(std::path::Path::new("f")), "{words:?}");
        }
    }
}
