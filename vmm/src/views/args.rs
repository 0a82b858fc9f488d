//! What the user says to the views.

use clap::Args;

/// `glass ls`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}
