//! What stands between the network and the handlers: the rules of who may listen where, the tokens, TLS, and the room.

use super::room::Room;
use super::server::tls::{Certificates, TlsError};
use super::tokens::{TokenFile, TokenFileError, Tokens};
use crate::clock::UnixMs;
use crate::config::Config;

/// The door of a running host.
#[derive(Debug)]
pub struct Door {
    /// Who is admitted.
    pub(super) tokens: Tokens,
    /// How much at once.
    pub(super) room: Room,
    /// TLS of the host's own.
    pub(super) certificates: Option<Certificates>,
}

/// Why the door cannot be opened: one line for people, with the key, the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Others could reach the host, and nobody would be asked for a token.
    #[error(
        "server.listen is {listen}, which others can reach, but there are no tokens in {file}: make one with `windlass \
         token new NAME --scope SCOPE`, or listen on 127.0.0.1"
    )]
    NoTokens {
        /// The address.
        listen: std::net::SocketAddr,
        /// Where tokens would be.
        file: String,
    },
    /// Others could reach the host, and tokens would go over the network for all to read.
    #[error(
        "server.listen is {listen}, which others can reach, but there is no TLS: set server.tls = {{ cert = \"FILE\", \
         key = \"FILE\" }} in {file}, or server.behind_proxy = true there if a proxy ends TLS in front, or listen on \
         127.0.0.1"
    )]
    NoTls {
        /// The address.
        listen: std::net::SocketAddr,
        /// The settings.
        file: String,
    },
}

impl DoorError {
    /// The key whose value is wrong, or what it names; none where it is a file that no key names.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Tokens(_) => None,
            Self::Tls(_) => Some("server.tls"),
            Self::NoTokens { .. } | Self::NoTls { .. } => Some("server.listen"),
        }
    }
}

impl Door {
    /// Checks what the settings say of the network, and reads the tokens and the certificate. `settings` names the file
    /// that the settings came from.
    ///
    /// # Errors
    /// Where others could reach a host that is not safe to reach, or a file cannot be used.
    pub fn open(config: &Config, settings: &str) -> Result<Self, DoorError> {
        let (server, file) = (&config.server, TokenFile::in_folder(&config.data_dir()));
        let tokens = Tokens::open(file)?;
        if !server.is_loopback() && !tokens.are_needed() {
            let file = tokens.file().path().display().to_string();
            return Err(DoorError::NoTokens { listen: server.listen, file });
        }
        if !server.is_loopback() && server.tls.is_none() && !server.behind_proxy {
            return Err(DoorError::NoTls { listen: server.listen, file: settings.to_owned() });
        }
        let certificates = server.tls.as_ref().map(Certificates::load).transpose()?;
        Ok(Self { tokens, room: Room::new(server), certificates })
    }

    /// Says in the log who is let in.
    pub fn tell(&self, config: &Config, now: UnixMs) {
        let file = self.tokens.file().path().display();
        match (self.tokens.are_needed(), self.tokens.valid(now)) {
            (true, 0) => tracing::warn!(%file, "no token is valid: every request that needs one is refused"),
            (true, valid) => tracing::info!(valid, %file, "requests need a token"),
            (false, _) if config.server.behind_proxy => {
                tracing::warn!(
                    "server.behind_proxy is set and there are no tokens: whoever the proxy lets in may do everything"
                );
            }
            (false, _) => tracing::debug!("no tokens are asked for on loopback"),
        }
    }

    /// Whether tokens are asked for.
    pub(super) fn needs_tokens(&self) -> bool {
        self.tokens.are_needed()
    }

    /// A door for tests: no TLS, and the tokens of that folder.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn in_folder(config: &Config, data: &std::path::Path) -> Self {
        let tokens = Tokens::open(TokenFile::in_folder(data)).expect("a sound file or none");
        Self { tokens, room: Room::new(&config.server), certificates: None }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::api::tokens::Minted;
    use crate::config::Store;

    fn config(listen: &str, folder: &TempDir) -> Config {
        let mut config = Config { store: Store::in_folder(folder.path()).unwrap(), ..Config::default() };
        config.server.listen = listen.parse().unwrap();
        config
    }

    #[test]
    fn loopback_is_open_without_anything() {
        let folder = TempDir::new().unwrap();
        for listen in ["127.0.0.1:0", "[::1]:0", "127.8.8.8:0", "[::ffff:127.0.0.1]:0"] {
            assert!(Door::open(&config(listen, &folder), "windlass.toml").is_ok(), "{listen}");
        }
    }

    #[test]
    fn others_are_let_near_only_with_tokens_and_tls() {
        let folder = TempDir::new().unwrap();
        for listen in ["0.0.0.0:7070", "[::]:7070", "10.0.0.7:7070"] {
            let mut config = config(listen, &folder);
            let told = Door::open(&config, "windlass.toml").unwrap_err().to_string();
            assert!(
                told.contains("server.listen is")
                    && told.contains("tokens.toml")
                    && told.contains("windlass token new")
            );
            config.server.behind_proxy = true;
            assert!(matches!(Door::open(&config, "windlass.toml"), Err(DoorError::NoTokens { .. })));
        }
        let token = crate::api::tokens::for_tests(&Minted::from_random(&[1; 38]), &["read"]);
        TokenFile::in_folder(folder.path()).add(token).unwrap();
        let mut config = config("0.0.0.0:7070", &folder);
        let told = Door::open(&config, "windlass.toml").unwrap_err().to_string();
        assert!(
            told.contains("server.tls") && told.contains("in windlass.toml") && told.contains("behind_proxy"),
            "{told}"
        );
        config.server.behind_proxy = true;
        assert!(Door::open(&config, "windlass.toml").is_ok());
    }
}
