// SPDX-License-Identifier: GPL-2.0-only
//! include/stubguard.h is what cbindgen makes of the sources, and compiles alone, in C and C++.

#![allow(missing_docs, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::generate_with_config(root(), config).expect("the sources");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

/// `make header` sets `STUBGUARD_BLESS` to write the header instead of comparing it.
#[test]
fn the_committed_header_is_current() {
    let path = root().join("include/stubguard.h");
    let text = generated();
    if env::var_os("STUBGUARD_BLESS").is_some() {
        fs::write(&path, &text).expect("include/ can be written");
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "run `make header`");
}

fn compile(compiler: &Path, arguments: &[&str], language: &str) {
    compile_text(compiler, arguments, language, "#include <stubguard.h>\n");
}

fn compile_text(compiler: &Path, arguments: &[&str], language: &str, text: &str) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{language}{}", text.len()));
    fs::create_dir_all(&dir).expect("a directory for the test");
    let source = dir.join(if language == "c++" { "alone.cc" } else { "alone.c" });
    fs::write(&source, text).expect("a file for the test");
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .args(arguments)
        .arg(&source)
        .output()
        .expect("a compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn c_compiler() -> cc::Tool {
    cc::Build::new()
        .opt_level(0)
        .host("x86_64-unknown-linux-gnu")
        .target("x86_64-unknown-linux-gnu")
        .get_compiler()
}

#[test]
fn the_header_compiles_alone_in_c99() {
    compile(c_compiler().path(), &["-std=c99"], "c");
}

/// What stands in the first comment, behind a tab.
#[test]
fn the_headers_pattern_of_use_compiles() {
    let text = generated();
    let code: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("#ifndef"))
        .filter_map(|line| line.strip_prefix(" *\t"))
        .collect();
    assert!(code.len() > 20, "{code:?}");
    let head = "#include <errno.h>\n#include <signal.h>\n#include <stubguard.h>\n";
    let tail = "void *used[] = { (void *)start, (void *)guest };\n";
    let text = format!("{head}{}\n{tail}", code.join("\n"));
    compile_text(c_compiler().path(), &["-std=gnu99", "-Wno-pedantic"], "c", &text);
}

#[test]
fn the_header_compiles_alone_in_cxx() {
    let compiler = cc::Build::new()
        .cpp(true)
        .opt_level(0)
        .host("x86_64-unknown-linux-gnu")
        .target("x86_64-unknown-linux-gnu")
        .get_compiler();
    compile(compiler.path(), &["-std=c++11"], "c++");
}
