//! Host keys that a machine wrote to its console when it made them. Source: the documentation of cloud-init,
//! module "SSH". Pure.

/// What stands on the console of a machine that has come up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Console {
    /// It made these host keys, as `ssh-ed25519 AAAA…`.
    Keys(Vec<String>),
    /// It has come up, and made none.
    NoKeys,
    /// It has not come up yet, as far as is known.
    NotYet,
}

const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";

/// Reads the text of a console.
pub(super) fn read(text: &str) -> Console {
    // What it wrote when it last came up counts.
    if let Some((_, after)) = text.rsplit_once(BEGIN)
        && let Some((keys, _)) = after.split_once(END)
    {
        let keys: Vec<String> = keys.lines().filter_map(key).collect();
        return match keys.is_empty() {
            true => Console::NoKeys,
            false => Console::Keys(keys),
        };
    }
    let has_come_up = text.contains(" login:")
        || text
            .lines()
            .any(|line| line.contains("Cloud-init v.") && line.contains("finished at"));
    match has_come_up {
        true => Console::NoKeys,
        false => Console::NotYet,
    }
}

/// A key of a line; a console may write the time before it.
fn key(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (kind, key) = words
        .iter()
        .zip(words.iter().skip(1))
        .find(|(_, key)| key.starts_with("AAAA"))?;
    Some(format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_last_boot_are_read() {
        let keys = |key: &str| {
            format!(
                "{BEGIN}\r\n[   12.345678] ssh-ed25519 AAAA{key} root@web\r\necdsa-sha2-nistp256 AAAAE{key} root@web\r\n{END}\r\n"
            )
        };
        let text = format!("boot\n{}reboot\n{}web login: ", keys("old"), keys("new"));
        let all = ["ssh-ed25519 AAAAnew", "ecdsa-sha2-nistp256 AAAAEnew"];
        assert_eq!(read(&text), Console::Keys(all.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_machine_that_came_up_without_new_keys_is_told_from_one_that_is_coming_up() {
        assert_eq!(read(""), Console::NotYet);
        let half = format!("{BEGIN}\nssh-ed25519 AAAAhalf root@web\n");
        assert_eq!(read(&half), Console::NotYet);
        assert_eq!(
            read("Debian GNU/Linux 13 web ttyS0\n\nweb login: "),
            Console::NoKeys
        );
        let done = "[  20.1] cloud-init[900]: Cloud-init v. 25.1 finished at Mon, 01 Dec 2026";
        assert_eq!(read(done), Console::NoKeys);
    }
}
