//! `bulkhead certs dev`: a certificate authority for development, and what it signs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::ExtendedKeyUsagePurpose;

use super::{Exit, fail};
use crate::dev::certificates::{Authority, Leaf, is_whole};
use crate::dev::error::DevError;

/// The names of a server certificate where none is given.
const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a CA, a server and a client certificate for development; what is there already stays as it is
    Dev(DevArgs),
}

#[derive(Debug, Args)]
struct DevArgs {
    /// The folder that gets ca.pem, server.pem, NAME.pem and their keys
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// A DNS name or address of the server (may be repeated) [default: localhost, 127.0.0.1, ::1]
    #[arg(long, value_name = "HOST")]
    server: Vec<String>,
    /// A client's name (may be repeated): of its files, and its certificate's common name and DNS name; with `=URI` the
    /// certificate has that URI (`web=spiffe://cluster/ns/shop/sa/web`) in the DNS name's place
    #[arg(long, value_name = "NAME[=URI]", default_value = "client", value_parser = client)]
    client: Vec<Client>,
}

/// Whom a client's certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    name: String,
    uri: Option<String>,
}

fn client(text: &str) -> Result<Client, String> {
    let (name, uri) = match text.split_once('=') {
        Some((name, uri)) => (name, Some(uri)),
        None => (text, None),
    };
    if !is_file_name(name) {
        return Err(format!(
            "`{name}` names a file, too: use letters, digits, `.`, `_` and `-`, and neither `ca` nor `server`"
        ));
    }
    let is_uri = |uri: &str| {
        let rest = uri.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.is_empty()) && uri.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !uri.is_none_or(is_uri) {
        return Err("after `=` stands a URI, as `spiffe://cluster/ns/shop/sa/web`".to_owned());
    }
    Ok(Client {
        name: name.to_owned(),
        uri: uri.map(str::to_owned),
    })
}

/// Runs `bulkhead certs`.
pub fn run(args: &CertsArgs) -> Exit {
    let Command::Dev(args) = &args.command;
    match make(args) {
        Ok(()) => Exit::Done,
        Err(error) => fail(error),
    }
}

fn make(args: &DevArgs) -> Result<(), DevError> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).map_err(DevError::file("make", dir))?;
    let leaves = leaves(args);
    // Nothing is written before it is sure that nothing stands in the way.
    for file in leaves.iter().map(|leaf| leaf.file.as_str()).chain(["ca"]) {
        is_whole(
            &dir.join(format!("{file}.pem")),
            &dir.join(format!("{file}.key")),
        )?;
    }
    let is_new = !dir.join("ca.pem").exists();
    let authority = Authority::open(dir)?;
    say(is_new, authority.certificate());
    for leaf in &leaves {
        let made = authority.issue_pair(leaf, dir)?;
        say(made, &dir.join(format!("{}.pem", leaf.file)));
    }
    println!("for development only: whoever has ca.key can pose as anybody");
    Ok(())
}

fn leaves(args: &DevArgs) -> Vec<Leaf> {
    let names = if args.server.is_empty() {
        SERVER_NAMES.map(str::to_owned).to_vec()
    } else {
        args.server.clone()
    };
    let server = Leaf {
        file: "server".into(),
        common_name: names.first().cloned().unwrap_or_default(),
        names,
        uri: None,
        usage: ExtendedKeyUsagePurpose::ServerAuth,
    };
    let clients = args.client.iter().map(|Client { name, uri }| Leaf {
        file: name.clone(),
        common_name: name.clone(),
        names: if uri.is_none() {
            vec![name.clone()]
        } else {
            Vec::new()
        },
        uri: uri.clone(),
        usage: ExtendedKeyUsagePurpose::ClientAuth,
    });
    std::iter::once(server).chain(clients).collect()
}

fn say(made: bool, path: &Path) {
    let what = if made { "made" } else { "kept" };
    println!("{what}  {}", path.display());
}

fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty()
        && !name.starts_with('.')
        && !matches!(name, "ca" | "server")
        && name.bytes().all(plain)
}
