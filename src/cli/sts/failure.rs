//! What can go wrong in `sts`, and the exit code that scripts know each by.

use crate::cli::files::Unreadable;
use serde_json::Value;

/// Anything that ends a command without success. The text is what follows the error symbol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments do not fit the command; its usage is shown too.
    #[error("{0}")]
    Arguments(String),
    /// The settings do not name a server and one token.
    #[error("{0}")]
    Settings(String),
    /// A file that was named cannot be read.
    #[error("cannot read `{path}`: {cause}")]
    ReadFile {
        /// The file.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// A file, or the standard output, cannot be written.
    #[error("cannot write `{path}`: {cause}")]
    WriteFile {
        /// The file.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// No such context.
    #[error("{0}")]
    NotFound(String),
    /// The server does not answer, or does not let the caller in.
    #[error("{text}")]
    Connect {
        /// What happened, with the server's reason in it.
        text: String,
        /// What the server sent along.
        body: Option<ServerBody>,
    },
    /// The server refused the request itself, or answered with something else than its contract says.
    #[error("{text}")]
    Response {
        /// The status, or what is wrong with the answer.
        text: String,
        /// What the server sent along.
        body: Option<ServerBody>,
    },
    /// The server speaks a version of the contract that this program does not.
    #[error("incompatible API version: got '{got}', but need '{need}'-compatible version")]
    ApiVersion {
        /// What the server said of itself.
        got: String,
        /// The oldest version that will do.
        need: &'static str,
    },
    /// The certificates given for the connection cannot be used.
    #[error("{0}")]
    Certificates(String),
}

/// The body of an answer that is an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerBody {
    /// JSON, as sent.
    Json(Value),
    /// Plain text.
    Text(String),
}

impl Failure {
    /// The program's exit code. The numbers are those of the original.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 1,
            Self::Arguments(_) | Self::Response { .. } => 3,
            Self::Connect { .. } => 4,
            Self::ReadFile { .. } => 5,
            Self::WriteFile { .. } => 6,
            Self::NotFound(_) => 8,
            Self::ApiVersion { .. } => 10,
            Self::Certificates(_) => 11,
        }
    }

    /// Whether the command's usage helps after this.
    pub(crate) const fn shows_usage(&self) -> bool {
        matches!(self, Self::Arguments(_) | Self::ApiVersion { .. })
    }

    /// What the server sent along.
    pub(crate) const fn body(&self) -> Option<&ServerBody> {
        match self {
            Self::Connect { body, .. } | Self::Response { body, .. } => body.as_ref(),
            Self::Arguments(_)
            | Self::Settings(_)
            | Self::ReadFile { .. }
            | Self::WriteFile { .. }
            | Self::NotFound(_)
            | Self::ApiVersion { .. }
            | Self::Certificates(_) => None,
        }
    }

    /// Whether the text holds the server's body already, so that it is not to be printed after it again.
    pub(crate) const fn text_has_body(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

impl From<Unreadable> for Failure {
    fn from(Unreadable { path, cause }: Unreadable) -> Self {
        Self::ReadFile { path, cause }
    }
}
