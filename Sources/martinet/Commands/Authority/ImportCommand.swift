import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Give the authority a root or an intermediate from outside, or the answer to its signing request.",
        discussion: """
            With a certificate and its key the authority issues under it from now on, by a rotation: proxies learn to \
            trust its root first. Without a key the certificate must answer the request of `martinet ca csr`. With \
            --dir the files are taken that Istio's `cacerts` secret has: ca-cert.pem, ca-key.pem, root-cert.pem and \
            cert-chain.pem. Everything is checked before anything changes.

            EXAMPLES
              martinet ca import --cert intermediate.pem --key intermediate.key --root root.pem
              martinet ca import --cert answer.pem --root corporate-root.pem
              martinet ca import --dir /etc/cacerts

            EXIT CODES
              0   It is taken.
              1   Something is wrong with it, and nothing has changed.
              64  The command line is wrong.
            """)

    @Option(
        help: ArgumentHelp("PEM file of the certificate, then what leads from it to its root.", valueName: "file"))
    var cert: String?

    @Option(help: ArgumentHelp("PEM file of its private key.", valueName: "file"))
    var key: String?

    @Option(help: ArgumentHelp("PEM file of the root, if it is not in --cert.", valueName: "file"))
    var root: String?

    @Option(help: ArgumentHelp("A directory with the files of Istio's cacerts.", valueName: "dir"))
    var dir: String?

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if dir != nil, cert != nil || key != nil || root != nil {
            throw ValidationError("--dir names all the files: leave out --cert, --key and --root")
        }
        if dir == nil, cert == nil { throw ValidationError("name what to import: --cert FILE or --dir DIR") }
    }

    func run() throws {
        let material = try dir.map(Self.cacerts) ?? files()
        let answer = try target.call(ControlAuthority.import, material.encoded())
        for words in try readAnswer({ try AuthorityMaterial.taken(decoding: answer) }) {
            Terminal.output.line(words.printable)
        }
    }

    private func files() throws -> AuthorityMaterial {
        AuthorityMaterial(
            certificates: try cert.map(Self.read) ?? "", key: try key.map(Self.read) ?? "",
            root: try root.map(Self.read) ?? "")
    }

    /// Source: Istio, "Plug in CA Certificates": cert-chain.pem begins with ca-cert.pem where it is there.
    private static func cacerts(_ directory: String) throws -> AuthorityMaterial {
        func path(_ name: String) -> String { directory + "/" + name }
        let certificate = try read(path("ca-cert.pem"))
        var chain = certificate
        if FileManager.default.fileExists(atPath: path("cert-chain.pem")) {
            let given = try read(path("cert-chain.pem"))
            // Some leave out the first, which Istio's own script writes.
            func words(_ text: String) -> String { String(text.filter { !$0.isWhitespace }) }
            chain = words(given).hasPrefix(words(certificate)) ? given : certificate + "\n" + given
        }
        return AuthorityMaterial(
            certificates: chain, key: try read(path("ca-key.pem")), root: try read(path("root-cert.pem")))
    }

    /// Certificates and keys are small: what is larger is another file.
    private static let largestFile = 512 << 10

    private static func read(_ path: String) throws -> String {
        let hint = "check the path, and that this user can read it"
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw CommandProblem("cannot read \(path): \(String(cString: strerror(errno)))", hint: hint)
        }
        defer { try? file.close() }
        let data: Data
        do {
            data = try file.read(upToCount: largestFile + 1) ?? Data()
        } catch {
            throw CommandProblem("cannot read \(path): \(error.localizedDescription)", hint: hint)
        }
        guard data.count <= largestFile else {
            throw CommandProblem("\(path) has more than \(largestFile) bytes", hint: "give PEM files alone")
        }
        guard let text = String(data: data, encoding: .utf8), !text.utf8.contains(0) else {
            throw CommandProblem("\(path) is no PEM file: it is not text", hint: "convert DER with `openssl x509`")
        }
        return text
    }
}

struct SigningRequestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "csr",
        abstract: "Print a request for an intermediate certificate, for an outside root to sign.",
        discussion: """
            The authority makes the key and keeps it: the root's key never has to be here, and this one never leaves. \
            Let the root sign the request with CA:TRUE, and give the answer to `martinet ca import --cert`.

            EXAMPLES
              martinet ca csr > intermediate.csr

            EXIT CODES
              0   Printed.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlAuthority.signingRequest, SigningRequestText.request)
        Terminal.output.write(try readAnswer { try SigningRequestText.decode(answer) })
    }
}
