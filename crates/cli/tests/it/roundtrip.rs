use lifeboat_core::archive::Identities;

/// An age identity: its secret text, and the public key.
pub fn age_key() -> (String, String) {
    let made = Identities::generate();
    (
        String::from_utf8(made.secret.to_vec()).unwrap(),
        made.recipient,
    )
}
