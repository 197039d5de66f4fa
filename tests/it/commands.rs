//! The command line itself: help, completions, man pages, the admin address.

use std::process::{Command, Output};

fn forebay(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay")).args(words).output().expect("run")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = text(forebay(&["--help"]).stdout);
    let (_, list) = help.split_once("Commands:\n").expect("commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_command_has_help_and_a_man_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a path");
    assert!(forebay(&["man", "--dir", dir]).status.success());
    let commands = commands();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let help = forebay(&[&command, "--help"]);
        assert!(help.status.success(), "{command}");
        let page = folder.path().join(format!("forebay-{command}.1"));
        let page = std::fs::read_to_string(page).expect("a page");
        assert!(page.contains(&format!(".TH forebay-{command} 1")), "{page}");
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(text(forebay(&["man"]).stdout).contains(".TH forebay 1"));
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(forebay(&["completions", shell]).stdout);
        for command in commands() {
            assert!(script.contains(&command), "{shell} {command}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("forebay.bash");
    std::fs::write(&script, forebay(&["completions", "bash"]).stdout).expect("written");
    let load = "source \"$0\" && COMP_WORDS=(forebay exp) COMP_CWORD=1 && _forebay forebay exp forebay && echo ${COMPREPLY[*]}";
    let done = Command::new("bash").args(["-c", load]).arg(&script).output().expect("bash");
    assert_eq!(text(done.stdout).trim(), "explain");
}

#[test]
fn commands_without_their_argument_show_help() {
    for command in ["purge", "explain", "sign", "keys", "completions"] {
        let run = forebay(&[command]);
        assert_eq!(run.status.code(), Some(2), "{command}");
        assert!(text(run.stderr).contains("Usage: forebay"), "{command}");
    }
}

#[test]
fn the_admin_address_comes_from_flag_environment_or_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |words: &[&str], environment: Option<&str>| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        program.args(words).current_dir(folder.path());
        program.envs(environment.map(|address| ("FOREBAY_ADMIN", address)));
        text(program.output().expect("run").stderr)
    };
    // Nothing listens on port 1 and 2.
    std::fs::write(folder.path().join("forebay.toml"), "[admin]\nlisten = \"127.0.0.1:1\"\n")
        .expect("written");
    for command in [&["purge", "/a"][..], &["explain", "/a"], &["health"]] {
        assert!(run(command, None).contains("cannot reach Forebay at 127.0.0.1:1"), "{command:?}");
        let from_environment = run(command, Some("127.0.0.1:2"));
        assert!(from_environment.contains("cannot reach Forebay at 127.0.0.1:2"), "{command:?}");
        let flag = [command, &["--admin", "127.0.0.1:3"]].concat();
        assert!(run(&flag, Some("127.0.0.1:2")).contains("127.0.0.1:3"), "{command:?}");
    }
}
