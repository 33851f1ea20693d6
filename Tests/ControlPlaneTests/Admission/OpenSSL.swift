import Certificates
import Foundation
import Testing

/// A certificate for `proxy.test` without a SPIFFE ID, made by the openssl program.
func openSSLCertificate() throws -> [UInt8] {
    let directory = try TemporaryDirectory("certificate")
    try openssl([
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
        "/CN=proxy", "-addext", "subjectAltName=DNS:proxy.test", "-keyout", directory["key.pem"], "-out",
        directory["cert.pem"],
    ])
    let pem = Array(try Data(contentsOf: URL(fileURLWithPath: directory["cert.pem"])))
    return try #require(try Certificate.list(pem: pem).first).der
}

/// Runs the openssl program, which must end well.
func openssl(_ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
}
