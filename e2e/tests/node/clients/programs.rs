//! The programs of the image of TLS clients, which `e2e/clients/build` makes.

/// A container of that image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// What the container is called.
    pub(super) name: &'static str,
    /// What it runs; URLs come after it.
    pub(super) command: &'static [&'static str],
    /// What it says of a server whose CA it does not know.
    pub(super) doubt: &'static str,
}

pub(super) const CURL: Program = Program {
    name: "curl",
    command: &["sh", "/clients/curl.sh"],
    doubt: "SSL certificate problem: unable to get local issuer certificate",
};

pub(super) const OPENSSL: Program = Program {
    name: "openssl",
    command: &["sh", "/clients/openssl.sh"],
    doubt: "unable to get local issuer certificate",
};

pub(super) const REQUESTS: Program = Program {
    name: "requests",
    command: &["python3", "/clients/client.py"],
    doubt: "certificate verify failed: unable to get local issuer certificate",
};

pub(super) const NODE: Program =
    Program { name: "node", command: &["node", "/clients/client.js"], doubt: "unable to verify the first certificate" };

pub(super) const GO: Program =
    Program { name: "go", command: &["/clients/client"], doubt: "x509: certificate signed by unknown authority" };

/// These are as programs of those who mean to live through a rotation.
pub(super) const GO_RELOADING: Program =
    Program { name: "go-reloading", command: &["/clients/client", "-reload"], ..GO };

pub(super) const NODE_RELOADING: Program =
    Program { name: "node-reloading", command: &["node", "/clients/client.js", "-reload"], ..NODE };

pub(super) const JAVA: Program = Program {
    name: "java",
    command: &["java", "-cp", "/clients", "Client"],
    doubt: "unable to find valid certification path to requested target",
};

pub(super) const JAVA_RELOADING: Program =
    Program { name: "java-reloading", command: &["java", "-cp", "/clients", "Client", "-reload"], ..JAVA };

/// Not a client: it tells how many certificates the Bundle's file holds, whenever that changes.
pub(super) const FILE: Program = Program { name: "file", command: &["sh", "/clients/file.sh"], doubt: "" };

/// Those that the PEM is for.
pub(super) const PEM: [Program; 5] = [CURL, OPENSSL, REQUESTS, NODE, GO];

/// One of each language that reads the file before each connection.
pub(super) const RELOADING: [Program; 5] = [CURL, REQUESTS, GO_RELOADING, NODE_RELOADING, JAVA_RELOADING];
