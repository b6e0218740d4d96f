//! Makes the tokens of load runs: whoever knows one can have requests recorded, and can say which client they stand for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

/// A token of 128 random bits.
///
/// # Errors
/// The operating system provides no random numbers.
pub fn load_token() -> Result<String, String> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the operating system provides no random numbers".to_owned())?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
