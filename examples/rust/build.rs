//! Makes the stubs from the protos.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../protos/sessions");
    let files = protox::compile(["sessions/v1/sessions.proto"], ["../../protos"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(files)?;
    Ok(())
}
