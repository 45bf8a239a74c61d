//! MariaDB or MySQL, and which release, by what a server or a program says of itself.

use crate::kind::Kind;

/// Whose server and tools: they differ in more than their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Flavor {
    /// MariaDB.
    #[default]
    Mariadb,
    /// MySQL.
    Mysql,
}

impl Flavor {
    /// The name in the configuration, in manifests and in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Flavor::Mariadb => "mariadb",
            Flavor::Mysql => "mysql",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Flavor::Mariadb => "MariaDB",
            Flavor::Mysql => "MySQL",
        }
    }

    /// The flavor of a kind of source, when it is one of these.
    pub fn of_kind(kind: Kind) -> Option<Self> {
        [Flavor::Mariadb, Flavor::Mysql]
            .into_iter()
            .find(|flavor| flavor.kind() == kind)
    }

    /// The kind of source.
    pub fn kind(self) -> Kind {
        match self {
            Flavor::Mariadb => Kind::Mariadb,
            Flavor::Mysql => Kind::Mysql,
        }
    }
}

/// `10.11.6-MariaDB` → `[10, 11]`.
pub fn release_of(version: &str) -> Option<[u32; 2]> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
}

/// Whose server tells this version of itself: `otherwise` when the version does not say.
pub fn flavor_of(version: &str, otherwise: Flavor) -> Flavor {
    match (version.contains("MariaDB"), otherwise) {
        (true, _) => Flavor::Mariadb,
        // MariaDB always says so.
        (false, Flavor::Mariadb) if release_of(version).is_some_and(|r| r < [10, 0]) => {
            Flavor::Mysql
        }
        (false, otherwise) => otherwise,
    }
}
