#![allow(clippy::disallowed_methods)]

use super::*;
use crate::name::Name;

fn config(public: &str, store: &Path, state: &Path) -> Config {
    let text = format!(
        "version = 1\n[app]\nname = \"crm\"\nstate = \"{}\"\npublic_dirs = [{public}]\n\
         [source.secrets]\nkind = \"files\"\npaths = [\"/srv/crm/.env\"]\nsensitive = true\n\
         [source.files]\nkind = \"files\"\npaths = [\"/srv/crm/files\"]\n\
         [store.disk]\nkind = \"local\"\npath = \"{}\"\n",
        state.display(),
        store.display()
    );
    Config::parse(&text, Path::new("/etc/lifeboat/lifeboat.toml")).unwrap()
}

/// Place and message of each misplaced directory.
fn told(config: &Config) -> Vec<(String, String)> {
    let mut issues = Vec::new();
    misplaced(config, &mut issues);
    assert!(issues.iter().all(|i| i.gravity == Gravity::Error));
    assert!(issues.iter().all(|i| i.hint.as_deref() == Some(HINT)));
    issues
        .into_iter()
        .map(|issue| (issue.path(), issue.message))
        .collect()
}

#[test]
fn usual_places_are_known_by_name() {
    let elsewhere = Path::new("/var/lib/lifeboat");
    for (path, root) in [
        ("/var/www", "/var/www"),
        ("/var/www/html/backups", "/var/www"),
        ("/var/./www/x/../html", "/var/www"),
        ("/srv/www/a", "/srv/www"),
        ("/srv/http/a", "/srv/http"),
        ("/usr/share/nginx/html/b", "/usr/share/nginx/html"),
        (
            "/var/lib/tomcat10/webapps/ROOT",
            "/var/lib/tomcat10/webapps",
        ),
        ("/home/ops/public_html/b", "/home/ops/public_html"),
    ] {
        let expected =
            format!("{path} is inside {root}, which a web server publishes (a usual place for it)");
        let found = told(&config("", Path::new(path), elsewhere));
        assert_eq!(found, [("store.disk.path".into(), expected.clone())]);
        let found = told(&config("", Path::new("/mnt/b"), Path::new(path)));
        assert_eq!(found, [("app.state".into(), expected)]);
    }
    for path in [
        "/var/wwwx",
        "/srv/crm/backups",
        "/var/lib/tomcat10/work",
        "/var/lib/other/webapps",
        "/var/backups/lifeboat",
        "/home/ops/public_html2",
    ] {
        assert_eq!(told(&config("", Path::new(path), elsewhere)), [], "{path}");
    }
}

#[test]
fn listed_directories_and_links_and_their_parents_are_recognised() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (site, outside) = (root.join("site"), root.join("outside"));
    std::fs::create_dir_all(site.join("public")).unwrap();
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    symlink(&site, root.join("alias")).unwrap();
    symlink(outside.join("deep"), site.join("public/files")).unwrap();
    let public = format!("\"{}/public\"", site.display());
    let state = root.join("state");
    let how = |path: PathBuf| {
        let found = told(&config(&public, &path, &state));
        let found = found.into_iter().map(|(_, message)| message).next()?;
        let (_, rest) = found.split_once(&format!("{} ", path.display()))?;
        Some(rest.split(" /").next()?.to_owned())
    };
    assert_eq!(how(site.join("public/backups")).unwrap(), "is inside");
    assert_eq!(how(root.join("alias/public/b")).unwrap(), "is inside");
    assert_eq!(how(site.join("public/files/b")).unwrap(), "is inside");
    assert_eq!(how(site.clone()).unwrap(), "contains");
    assert_eq!(how(root.join("alias")).unwrap(), "contains");
    assert_eq!(how(outside.join("deep/b")).unwrap(), "is linked to from");
    assert_eq!(how(outside.join("b")), None);
    assert_eq!(how(site.join("private")), None);
}

#[test]
fn a_sensitive_source_is_not_restored_where_it_would_be_published() {
    let config = config(
        "\"/data/site\"",
        Path::new("/mnt/b"),
        Path::new("/var/lib/l"),
    );
    let check = |to: &str, sources: &[&str]| {
        let sources = sources.iter().map(|s| Name::parse(s).unwrap());
        let sources: Vec<Name> = sources.collect();
        config.check_target(Path::new(to), &sources)
    };
    let error = check("/data/site/look", &["files", "secrets"]).unwrap_err();
    assert_eq!(error.code, Code::Target);
    assert_eq!(
        error.message,
        "source secrets is not restored to /data/site/look: that is inside /data/site, which a web server publishes (listed in app.public_dirs)"
    );
    assert!(check("/var/www/look", &["secrets"]).is_err());
    assert!(check("/data/site/look", &["files"]).is_ok());
    assert!(check("/data/elsewhere", &["secrets"]).is_ok());
    let unknown = check("/data/site/look", &["gone"]).unwrap_err();
    assert!(
        unknown
            .message
            .ends_with("the configuration does not have it")
    );
}

#[test]
fn servers_say_what_they_publish() {
    let table = [
        (
            Syntax::Nginx,
            "server { listen 80; root /srv/site/public; # root /srv/no;\n  location /m { alias \"/srv/media/\"; }\n  # root /x;\n root html; root /; root $base/x; root /srv/hosts/$host/www;\n try_files $uri /index.php; }",
            vec!["/srv/hosts", "/srv/media", "/srv/site/public"],
        ),
        (
            Syntax::Apache,
            "<VirtualHost *:80>\n\tdocumentroot \"/srv/app/public\"\n Alias /media /srv/media\n#DocumentRoot /x\n</VirtualHost>",
            vec!["/srv/app/public", "/srv/media"],
        ),
        (
            Syntax::Caddy,
            "example.org {\n\troot * /srv/caddy\n\tfile_server\n}\nexample.net {\n root /srv/two\n root * {$DIR}\n}",
            vec!["/srv/caddy", "/srv/two"],
        ),
        (
            Syntax::Lighttpd,
            "server.document-root = \"/srv/light\"\nserver.port = 80",
            vec!["/srv/light"],
        ),
    ];
    for (syntax, text, expected) in table {
        let expected: BTreeSet<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
        assert_eq!(directories(text, syntax), expected, "{syntax:?}");
    }
}

#[test]
fn only_enabled_sites_of_a_host_are_read() {
    use std::os::unix::fs::symlink;
    let host = tempfile::tempdir().unwrap();
    let nginx = host.path().join("etc/nginx");
    let write = |name: &str, text: &str| {
        let path = nginx.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("sites-available/on", "root /srv/on;");
    write("sites-available/off", "root /srv/off;");
    write("conf.d/more.conf", "root /srv/more;");
    std::fs::create_dir(nginx.join("sites-enabled")).unwrap();
    symlink("../sites-available/on", nginx.join("sites-enabled/on")).unwrap();
    let found: Vec<_> = configured(host.path())
        .into_iter()
        .map(|p| (p.directory.display().to_string(), p.known))
        .collect();
    let named = |d: &str, f: &str| (d.to_owned(), format!("named in /etc/nginx/{f}"));
    assert_eq!(
        found,
        [
            named("/srv/more", "conf.d/more.conf"),
            named("/srv/on", "sites-enabled/on")
        ]
    );
}
