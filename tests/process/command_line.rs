//! The program's own help and version.

use clap::CommandFactory;
use crm_backend::config::Cli;
use crm_testkit::run;

use super::scratch;

/// Returns every setting of a command, as its flag and its variable.
fn settings(command: &clap::Command) -> Vec<String> {
    let arguments = command.get_arguments();
    let names = arguments.flat_map(|argument| {
        let flag = argument.get_long().map(|flag| format!("--{flag}"));
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        flag.into_iter().chain(variable)
    });
    names.collect()
}

/// Returns every command that runs, with the words that call it.
fn commands<'c>(command: &'c clap::Command, called: Vec<&'c str>) -> Vec<(&'c clap::Command, Vec<&'c str>)> {
    let below = command
        .get_subcommands()
        .flat_map(|below| commands(below, [&called[..], &[below.get_name()]].concat()));
    let does_something = !command.is_subcommand_required_set();
    does_something.then(|| (command, called.clone())).into_iter().chain(below).collect()
}

#[test]
fn help_mentions_every_setting() {
    let scratch = scratch();
    let cli = Cli::command();
    for (command, called) in commands(&cli, Vec::new()) {
        let arguments = [&called[..], &["--help"]].concat();
        let ended = run(&scratch, &arguments);
        ended.succeeded();
        let settings = settings(command);
        assert!(settings.contains(&"CRM_LOG".to_owned()), "{settings:?}");
        for setting in settings {
            assert!(ended.stdout.contains(&setting), "{setting} is not in {arguments:?}:\n{}", ended.stdout);
        }
    }
}

#[test]
fn help_names_the_commands() {
    let scratch = scratch();
    let help = run(&scratch, &["--help"]).stdout;
    for command in Cli::command().get_subcommands() {
        assert!(help.contains(&format!("\n  {} ", command.get_name())), "{help}");
    }
}

#[test]
fn help_never_shows_the_password_of_the_environment() {
    let scratch = scratch();
    let mut command = crm_testkit::command(&scratch, &["--help"]);
    command.env("DATABASE_URL", "postgres://crm:hunter2@db/crm");
    let ended = crm_testkit::Program::spawn(command).wait();
    ended.succeeded();
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
}

#[test]
fn the_version_is_that_of_the_package() {
    let scratch = scratch();
    let ended = run(&scratch, &["--version"]);
    ended.succeeded();
    assert_eq!(ended.stdout, concat!("crm-backend ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_is_no_setting_is_refused_with_the_usage() {
    let scratch = scratch();
    for arguments in
        [&["--port", "1"][..], &["--listen", "localhost"], &["migrate", "--listen", "127.0.0.1:1"]]
    {
        let ended = run(&scratch, arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{}", ended.stderr);
    }
}
