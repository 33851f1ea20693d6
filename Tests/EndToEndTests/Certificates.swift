import Foundation
import Testing

/// A certificate authority made with the openssl program, with what it signs beside it.
struct CertificateAuthority {
    /// PEM files.
    struct Issued {
        var certificate: String
        var key: String
    }

    let directory: String
    let name: String
    private let root: Issued

    /// Its certificate, a PEM file.
    var certificate: String { root.certificate }

    init(_ name: String, in directory: String) throws {
        self.directory = directory
        self.name = name
        root = try Self.make(
            name, in: directory, extensions: "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign",
            signedBy: nil)
    }

    /// A leaf for `localhost`, `NAME.test` and 127.0.0.1, for servers and clients.
    func issue(_ name: String) throws -> Issued {
        try Self.make(
            name, in: directory,
            extensions: """
                basicConstraints=critical,CA:FALSE
                keyUsage=critical,digitalSignature
                extendedKeyUsage=serverAuth,clientAuth
                subjectAltName=DNS:localhost,DNS:\(name).test,IP:127.0.0.1
                """,
            signedBy: root)
    }

    /// A leaf whose time has passed.
    func issueExpired(_ name: String) throws -> Issued {
        let base = directory + "/" + name
        let issued = Issued(certificate: base + ".pem", key: base + ".key")
        try "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:\(name).test\n".write(
            toFile: base + ".ext", atomically: true, encoding: .utf8)
        try "".write(toFile: base + ".index", atomically: true, encoding: .utf8)
        try """
        [ca]
        default_ca=this
        [this]
        database=\(base).index
        new_certs_dir=\(directory)
        default_md=sha256
        rand_serial=yes
        policy=any
        [any]
        commonName=supplied
        """.write(toFile: base + ".cnf", atomically: true, encoding: .utf8)
        for arguments in [
            [
                "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=\(name)", "-keyout", issued.key, "-out", base + ".csr",
            ],
            [
                "ca", "-batch", "-notext", "-config", base + ".cnf", "-cert", root.certificate, "-keyfile", root.key,
                "-in", base + ".csr", "-out", issued.certificate, "-extfile", base + ".ext", "-startdate",
                "20200101000000Z", "-enddate", "20210203040506Z",
            ],
        ] {
            let (status, _, errors) = try ChildProcess.run("/usr/bin/openssl", arguments)
            try #require(status == 0, "\(errors)")
        }
        return issued
    }

    private static func make(
        _ name: String, in directory: String, extensions: String, signedBy issuer: Issued?
    ) throws -> Issued {
        let base = directory + "/" + name
        let issued = Issued(certificate: base + ".pem", key: base + ".key")
        let settings = """
            [req]
            distinguished_name=subject
            x509_extensions=extensions
            prompt=no
            [subject]
            CN=\(name)
            [extensions]
            \(extensions)
            """
        try settings.write(toFile: base + ".cnf", atomically: true, encoding: .utf8)
        let arguments =
            [
                "req", "-x509", "-config", base + ".cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "2", "-keyout", issued.key, "-out", issued.certificate,
            ] + (issuer.map { ["-CA", $0.certificate, "-CAkey", $0.key] } ?? [])
        let (status, _, errors) = try ChildProcess.run("/usr/bin/openssl", arguments)
        try #require(status == 0, "\(errors)")
        return issued
    }
}

/// Puts a file in the place of another as a careful user does: beside it, then renamed.
func replaceFile(_ path: String, with other: String) throws {
    try String(contentsOfFile: other, encoding: .utf8).write(toFile: path, atomically: true, encoding: .utf8)
}
