//! The man page and the completions, made from the command line, and the sections of the page that are written by hand.

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The part of the man page that is not generated from the command line.
const MANUAL: &str = include_str!("manual.roff");

/// The changelog of the Debian package, which has the date of each version.
const RELEASES: &str = include_str!("../../../packaging/debian/changelog");

const NAME: &str = "telegraf-algorithmia";

/// The usage of the program. A list of all options would be too long.
const USAGE: &str = "\
telegraf-algorithmia [convert] [OPTION]... [FILE]...
telegraf-algorithmia execd [OPTION]...
telegraf-algorithmia inspect [OPTION]... [FILE]...
telegraf-algorithmia generate WHAT [OPTION]...
telegraf-algorithmia replay DIR";

/// The man page.
pub fn page(root: Command) -> String {
    // Leaves out the commit, so that the same version always gives the same page.
    let version = concat!("telegraf-algorithmia ", env!("CARGO_PKG_VERSION"));
    let page =
        Man::new(root.clone().override_usage(USAGE)).date(release_date()).source(version).manual("User Commands");
    let page = written(|out| page.render(out));
    let (start, _) = page.split_once(".SH OPTIONS\n").unwrap_or((&page, ""));
    // The options that convert shares with execd are options of inspect, too.
    let has = |command: &Command, arg: &Arg| command.get_arguments().any(|its| its.get_id() == arg.get_id());
    let is_shared = |arg: &Arg| has(&root, arg) && root.find_subcommand("execd").is_some_and(|execd| has(execd, arg));
    let mut commands = String::new();
    for command in root.get_subcommands() {
        commands += &described("SS", command, is_shared);
        for what in command.get_subcommands() {
            commands += &described("TP", what, is_shared);
        }
    }
    let shared = Command::new("shared").version(env!("CARGO_PKG_VERSION"));
    let shared = options(shared.args(root.get_arguments().filter(|arg| is_shared(arg))));
    format!("{start}.SH COMMANDS\n{commands}.SH OPTIONS\nThose of convert, execd and inspect are:\n{shared}{MANUAL}")
}

/// The purpose of a command, and the options that it does not share with others, below a heading.
fn described(heading: &str, command: &Command, is_shared: impl Fn(&Arg) -> bool) -> String {
    let mut text = Roff::new();
    text.control(heading, []).text([bold(command.get_name())]);
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    text.text([roman(about)]);
    let own = command.get_arguments().filter(|arg| !is_shared(arg)).map(|arg| arg.clone().help_heading(None::<&str>));
    let own = options(Command::new("own").disable_help_flag(true).args(own));
    let own = if own.is_empty() { own } else { format!(".RS\n{own}.RE\n") };
    text.to_roff() + &own
}

/// The options of a command, each group below a heading.
fn options(command: Command) -> String {
    let section = written(|out| Man::new(command).render_options_section(out));
    // Makes each group of options a subsection: some section names, such as that of the input, are in use already. Also
    // replaces a break, an empty line and a break, which linters of man pages reject.
    let (_, options) = section.split_once(".SH OPTIONS\n").unwrap_or_default();
    options.replace(".SH ", ".SS ").replace(".br\n\n.br\n", ".sp\n")
}

/// The release date of this version, as YYYY-MM-DD, so that the same version always gives the same page.
fn release_date() -> String {
    let latest = RELEASES.lines().find_map(|line| line.strip_prefix(" -- ")?.rsplit_once("  "));
    let time = latest.and_then(|(_, time)| jiff::fmt::rfc2822::parse(time).ok());
    time.map_or_else(String::new, |time| time.date().to_string())
}

/// The completions for a shell.
pub fn completions(root: Command, shell: Shell) -> String {
    let mut command = shown(&root);
    let script = written(|out| {
        clap_complete::generate(shell, &mut command, NAME, out);
        Ok(())
    });
    match shell {
        // The functions have different names in their definitions and calls, since the two replace the `-` differently.
        Shell::Bash => script.replace("telegraf__subcmd__algorithmia", "telegraf__algorithmia"),
        // The first word is a command, or a file.
        Shell::Zsh => {
            let commands = format!(":_{NAME}_commands\"");
            script.replacen(&commands, &format!(":{{_{NAME}_commands; _files}}\""), 1)
        }
        _ => script,
    }
}

/// A command without its hidden options, so that they are not completed. Also without file arguments in places where a
/// command may be, since zsh would take each command for a file.
fn shown(command: &Command) -> Command {
    let is_shown = |arg: &&Arg| !(arg.is_hide_set() || arg.is_positional() && command.has_subcommands());
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_subcommand(true)
        .args(command.get_arguments().filter(is_shown))
        .subcommands(command.get_subcommands().map(shown))
}

/// The text that `write` writes. Writing to memory cannot fail, and the output is text.
fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    let _ = write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_a_day() {
        let date = release_date();
        assert!(date.starts_with("20") && date.len() == "2026-11-25".len(), "{date:?}");
        let version = format!("telegraf-algorithmia ({}-", env!("CARGO_PKG_VERSION"));
        assert!(RELEASES.starts_with(&version), "the package's changelog begins with this version");
    }
}
