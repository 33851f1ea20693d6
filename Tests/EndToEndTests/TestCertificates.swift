import Foundation
import Testing

/// An authority and what it signs, made by the openssl command.
final class TestCertificates {
    let directory: String

    /// - Parameter directory: made where it is missing.
    init(in directory: String) throws {
        self.directory = directory
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try authority("ca")
    }

    func path(_ name: String) -> String { directory + "/" + name }

    /// A self-signed authority: `NAME.pem`, `NAME.key`.
    func authority(_ name: String) throws {
        try openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=\(name)", "-keyout", path(name + ".key"), "-out", path(name + ".pem"),
        ])
    }

    /// A leaf for 127.0.0.1 and localhost, for servers and clients: `NAME.pem`, `NAME.key`.
    /// - Parameter days: of validity; negative ones have passed.
    func leaf(_ name: String, by authority: String = "ca", days: Int = 2) throws {
        try openssl([
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=\(name)",
            "-keyout", path(name + ".key"), "-out", path(name + ".csr"),
        ])
        try """
        subjectAltName=DNS:localhost,IP:127.0.0.1
        extendedKeyUsage=serverAuth,clientAuth
        """.write(toFile: path(name + ".ext"), atomically: true, encoding: .utf8)
        try openssl([
            "x509", "-req", "-in", path(name + ".csr"), "-CA", path(authority + ".pem"),
            "-CAkey", path(authority + ".key"), "-set_serial", "\(UInt32.random(in: 1...UInt32.max))",
            "-days", "\(days)", "-extfile", path(name + ".ext"), "-out", path(name + ".pem"),
        ])
    }

    private func openssl(_ arguments: [String]) throws {
        let (status, _, errors) = try ChildProcess.run("/usr/bin/openssl", arguments)
        try #require(status == 0, "openssl \(arguments): \(errors)")
    }
}
