//! The credentials for a bucket: keys that the configuration names, or those that the AWS tools would
//! use, and a role assumed with them.
//!
//! No service is asked here: that is done when a request is to be signed, and again before keys expire.

use crate::aws::{Chain, Role};
use crate::config::BucketServer;
use crate::error::Result;
use crate::resolve::resolve;
use crate::secret::{Reference, Scrubber};
use lifeboat_store::aws::{Credentials, Keys};

/// The credentials of a server. Only secrets that are named are fetched now.
pub fn of(server: &BucketServer, scrubber: &Scrubber) -> Result<Credentials> {
    let named = |reference: &Reference| -> Result<String> {
        let secret = resolve(reference)?;
        scrubber.learn(&secret);
        Ok(secret.expose_str()?.to_owned())
    };
    let given = match (&server.access_key, &server.secret_key) {
        (Some(access_key), Some(secret_key)) => {
            let token = server.session_token.as_ref().map(named).transpose()?;
            let (access_key, secret_key) = (named(access_key)?, named(secret_key)?);
            Some(Keys::new(
                access_key,
                secret_key,
                token,
                "the configuration",
            ))
        }
        _ => None,
    };
    let role = server.role_arn.clone().map(|arn| Role {
        arn,
        external_id: server.external_id.clone(),
        session: None,
    });
    Ok(Credentials::new(Chain {
        given,
        profile: server.profile.clone(),
        role,
        region: server.region.clone(),
    }))
}
