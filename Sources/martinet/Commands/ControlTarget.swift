import ArgumentParser
import ControlPlane
import Discovery
import Foundation
import GRPC
import Reactor
import TLS

/// Where the control plane's data is.
struct DataOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            The control plane's data directory. (default: $MARTINET_DATA, else /var/lib/martinet for root and \
            ~/.local/state/martinet for others)
            """, valueName: "dir"))
    var data: String?

    /// Absolute or as it was given.
    var directory: String {
        var path = data ?? Self.defaultDirectory(ProcessInfo.processInfo.environment, isRoot: geteuid() == 0)
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        return path
    }

    /// Source: XDG Base Directory Specification.
    static func defaultDirectory(_ environment: [String: String], isRoot: Bool) -> String {
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        if let directory = value("MARTINET_DATA") { return directory }
        if isRoot { return "/var/lib/martinet" }
        if let state = value("XDG_STATE_HOME") { return state + "/martinet" }
        return (value("HOME") ?? ".") + "/.local/state/martinet"
    }

    func validate() throws {
        if data == "" { throw ValidationError("--data is empty; write a directory") }
    }
}

/// Which control plane a command talks to.
struct ControlTarget: ParsableArguments {
    @OptionGroup var dataOptions: DataOptions

    @Option(
        help: ArgumentHelp(
            "Talk to the TLS port of a control plane elsewhere, instead of the socket in --data.",
            valueName: "host:port"))
    var server: String?

    @Option(help: ArgumentHelp("With --server: PEM file of the certificate to show.", valueName: "file"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("With --server: PEM file of its private key.", valueName: "file"))
    var tlsKey: String?

    @Option(
        help: ArgumentHelp(
            "With --server: PEM file of the authorities that sign the server's certificate.", valueName: "file"))
    var tlsCa: String?

    @Option(
        help: ArgumentHelp(
            "With --server: the name in the server's certificate, if it is not the host.", valueName: "name"))
    var tlsServerName: String?

    func validate() throws {
        let files = [("--tls-cert", tlsCert), ("--tls-key", tlsKey), ("--tls-ca", tlsCa)]
        if server == nil {
            if let (name, _) = (files + [("--tls-server-name", tlsServerName)]).first(where: { $0.1 != nil }) {
                throw ValidationError("\(name) has no use without --server")
            }
        } else if let (name, _) = files.first(where: { $0.1 == nil }) {
            throw ValidationError("--server needs \(name) too: the control service is served over mutual TLS")
        }
    }

    /// What an error calls it.
    var name: String { server ?? DataDirectory.controlSocket(in: dataOptions.directory) }

    /// - Throws: a ``CommandProblem`` for what cannot be read or looked up.
    func address() throws -> ServerAddress {
        guard let server else {
            return ServerAddress(.unix(path: DataDirectory.controlSocket(in: dataOptions.directory)))
        }
        return try Self.address(
            server, tls: TLSFiles(certificate: tlsCert, key: tlsKey, authorities: tlsCa, serverName: tlsServerName))
    }

    struct TLSFiles {
        var certificate: String?
        var key: String?
        var authorities: String?
        var serverName: String?
    }

    /// - Parameter tls: nil for plaintext.
    static func address(_ server: String, tls: TLSFiles?) throws -> ServerAddress {
        let (host, port) = try split(server)
        let address = try lookUp(host, port: port)
        guard let tls, let authorities = tls.authorities else { return ServerAddress(address) }
        do throws(TLSError) {
            var identity: TLSIdentity?
            if let certificate = tls.certificate, let key = tls.key {
                identity = try TLSIdentity(chainFile: certificate, keyFile: key)
            }
            let configuration = TLSConfiguration.client(
                trusting: try TrustAnchors(file: authorities), serverName: tls.serverName ?? host, identity: identity,
                applicationProtocols: ["h2"])
            return ServerAddress(address, tls: try TLSSettings(configuration))
        } catch {
            throw CommandProblem("\(error)", hint: error.hint)
        }
    }

    /// Host and port of `host:port`, `1.2.3.4:5` or `[::1]:5`.
    private static func split(_ server: String) throws -> (host: String, port: UInt16) {
        guard let colon = server.lastIndex(of: ":"), let port = UInt16(server[server.index(after: colon)...]) else {
            throw CommandProblem("`\(server)` is no HOST:PORT", hint: "write for example control.example.org:15012")
        }
        return (server[..<colon].trimmingCharacters(in: ["[", "]"]), port)
    }

    private static func lookUp(_ host: String, port: UInt16) throws -> SocketAddress {
        let written = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        if let address = try? SocketAddress(parsing: written) { return address }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var found: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host, "\(port)", &hints, &found)
        defer { if let found { freeaddrinfo(found) } }
        var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard result == 0, let found,
            getnameinfo(
                found.pointee.ai_addr, found.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
                == 0
        else {
            let reason = result == 0 ? "no address" : String(cString: gai_strerror(result))
            throw CommandProblem("cannot look up \(host): \(reason)", hint: "check the name, or write an address")
        }
        let number = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        do {
            return try SocketAddress(parsing: number.contains(":") ? "[\(number)]:\(port)" : "\(number):\(port)")
        } catch {
            throw CommandProblem("\(error)", hint: error.hint)
        }
    }

    // MARK: Calling

    /// Calls a method of the control service.
    /// - Throws: a ``CommandProblem``.
    func call(_ path: String, _ request: [UInt8], timeout: Duration = .seconds(60)) throws -> [UInt8] {
        let address = try address()
        do throws(GRPCStatus) {
            return try UnaryCallClient.call(path, request, at: address, timeout: timeout)
        } catch {
            throw problem(error)
        }
    }

    private func problem(_ status: GRPCStatus) -> CommandProblem {
        var lines = status.message.split(separator: "\n").map(String.init)
        switch status.code {
        case .unavailable:
            return server == nil
                ? CommandProblem(
                    "no control plane answers at \(name): \(status.message)",
                    hint:
                        "start one with `martinet serve --data \(dataOptions.directory)`, or pass the --data it runs with"
                )
                : CommandProblem(
                    "no control plane answers at \(name): \(status.message)",
                    hint: "check the address, and that `martinet serve` runs there with --xds-tls")
        case .invalidArgument, .failedPrecondition, .notFound, .resourceExhausted:
            // The service tells the mend in the last line.
            let hint = lines.count > 1 ? lines.removeLast() : nil
            return CommandProblem(lines: lines.isEmpty ? ["\(status)"] : lines, hint: hint)
        default:
            return CommandProblem("\(name) answered: \(status)")
        }
    }
}
