import ArgumentParser
import Certificates
import DataPlane
import Discovery
import Foundation
import GRPC
import Reactor
import TLS
import Time

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "See whether a proxy has here what it needs, and say what to do.",
        discussion: """
            Looks at the clock, the files, the control plane, the proxy that runs here or the ports that one would \
            take, its certificate, and the kernel's rules of interception; each line ends with ok, with a note, or with \
            what is wrong, followed by the mend. It changes nothing.

            EXAMPLES
              martinet check --control mesh.example.org:15012 --root-cert root-cert.pem
              martinet check --interception

            EXIT CODES
              0   Nothing is wrong.
              1   Something is.
              64  The command line is wrong.
            """)

    @OptionGroup(title: "Control plane") var controlOptions: ControlOptions

    @Option(help: ArgumentHelp("The admin interface of the proxy here.", valueName: "host:port"))
    var admin = "127.0.0.1:15000"

    @Flag(help: "Connections are to be led through the proxy: without the kernel's rules something is wrong.")
    var interception = false

    private enum Verdict {
        case fine(String)
        case noted(String)
        case wrong(String, mend: String)
    }

    func validate() throws {
        try controlOptions.requireUse()
        do throws(ReactorError) {
            _ = try SocketAddress(parsing: admin)
        } catch {
            throw ValidationError("--admin: \(error)")
        }
    }

    func run() throws {
        var problems = 0
        func tell(_ subject: String, _ verdict: Verdict) {
            let name = subject.padding(toLength: 16, withPad: " ", startingAt: 0)
            switch verdict {
            case .fine(let words): print("\(name)ok: \(words)")
            case .noted(let words): print("\(name)note: \(words)")
            case .wrong(let words, let mend):
                problems += 1
                print("\(name)WRONG: \(words)\n\(String(repeating: " ", count: 16))mend: \(mend)")
            }
        }
        tell("clock", clock)
        if controlOptions.rootCert != nil { tell("root", root) }
        if controlOptions.tokenFile != nil { tell("token", token) }
        tell("control plane", control)
        let pages = pages()
        if let pages {
            tell("proxy", proxy(pages.ready))
            for verdict in certificates(pages.certificates) { tell("certificate", verdict) }
        } else {
            tell("proxy", .noted("none answers at \(admin)"))
            let own = admin.lastIndex(of: ":").flatMap { UInt16(admin[admin.index(after: $0)...]) } ?? 15000
            // Where connections are led to, where they are.
            for port in (interception ? [15001, 15006] : []) + [own, 15090] { tell("port \(port)", isFree(port)) }
        }
        tell("interception", rules)
        if problems > 0 { throw ExitCode(1) }
    }

    // MARK: The machine

    private var clock: Verdict {
        let mend = "start chrony or systemd-timesyncd: certificates begin and end by the clock"
        return switch ClockKeeping.now() {
        case .kept(let error):
            .fine(
                "kept right, within \(error.components.attoseconds / 1_000_000_000_000_000 + error.components.seconds * 1000) ms"
            )
        case .notKept: .noted("nothing says that it is kept right; \(mend)")
        case .unknown: .noted("whether it is kept right is not known here")
        }
    }

    private func isFree(_ port: UInt16) -> Verdict {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        let status = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status == 0 { return .fine("free") }
        return .wrong(
            String(cString: strerror(errno)), mend: "see with `ss -ltnp sport = :\(port)` who has it, and end that")
    }

    /// Both families: one that is left out is a way past the proxy.
    private var rules: Verdict {
        let mend = "run `martinet intercept add` as root"
        do {
            var led: [String] = []
            var open: [String] = []
            for family in InterceptionRules.Family.allCases {
                guard let current = try KernelRules.current(family) else { continue }
                let name = family == .ipv4 ? "IPv4" : "IPv6"
                if InterceptionRules.lead(in: current) { led.append(name) } else { open.append(name) }
                if led.last != name, !InterceptionRules.ours(in: current).isEmpty {
                    return .wrong(
                        "a part of the rules of \(name) is missing: connections go past the proxy", mend: mend)
                }
            }
            if led.isEmpty {
                return interception
                    ? .wrong("no rules lead connections through the proxy", mend: mend)
                    : .noted("no rules: applications reach the proxy by its addresses")
            }
            guard open.isEmpty else {
                let words = "\(open.joined()) connections go past the proxy, \(led.joined()) ones through it"
                return interception ? .wrong(words, mend: mend) : .noted(words)
            }
            return .fine("\(led.joined(separator: " and ")) connections are led through the proxy")
        } catch {
            let words = (error as? CommandProblem)?.lines.joined(separator: "; ") ?? "\(error)"
            return interception
                ? .wrong(words, mend: "run this as root, where iptables is installed") : .noted("not known: \(words)")
        }
    }

    // MARK: Files and the control plane

    private var root: Verdict {
        let path = controlOptions.rootCert ?? ""
        guard let bytes = FileManager.default.contents(atPath: path) else {
            return .wrong("\(path) cannot be read", mend: "copy ca/root-cert.pem of the control plane's data there")
        }
        do {
            let now = Timestamp.systemClock()
            let certificates = try Certificate.list(pem: Array(bytes), source: path)
            let valid = certificates.filter { $0.validity.contains(now) }
            guard let first = valid.first else {
                return .wrong(
                    "no root in \(path) is valid by this machine's clock",
                    mend: "set the clock, or fetch the root again")
            }
            return .fine("\(first)")
        } catch {
            return .wrong("\(path): \(error)", mend: "copy ca/root-cert.pem of the control plane's data there")
        }
    }

    private var token: Verdict {
        let path = controlOptions.tokenFile ?? ""
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), text.contains(where: { !$0.isWhitespace })
        else { return .wrong("\(path) holds no token", mend: "write what `martinet token create` prints there") }
        return .fine("there is one in \(path); whether it is good shows when it is used")
    }

    private var control: Verdict {
        let target = controlOptions.control ?? (controlOptions.rootCert == nil ? "127.0.0.1:15010" : "127.0.0.1:15012")
        do {
            let files = ControlTarget.TLSFiles(
                authorities: controlOptions.rootCert, serverName: controlOptions.tlsServerName)
            let server = try ControlTarget.address(target, tls: controlOptions.rootCert == nil ? nil : files)
            // Nothing is asked for, and no token spent: what matters is who says so.
            _ = try UnaryCallClient.call(
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", [], at: server,
                timeout: .seconds(5))
        } catch let status as GRPCStatus {
            switch status.code {
            case .unavailable, .deadlineExceeded:
                return .wrong(
                    "\(target): \(status.message)",
                    mend: "check that `martinet serve` runs there, the way to it, and that --root-cert is its root")
            case .unimplemented, .unknown:
                return .wrong(
                    "\(target) answers, and is no control plane: \(status.message)",
                    mend: "name the port for xDS of `martinet serve`")
            default: break
            }
        } catch {
            return .wrong(
                "\(target): \((error as? CommandProblem)?.lines.first ?? "\(error)")", mend: "check --control")
        }
        return .fine("\(target) answers")
    }

    // MARK: The proxy

    private func pages() -> (ready: String, certificates: String)? {
        guard let ready = get("/ready", answers: [200, 503]), let certificates = get("/certs") else { return nil }
        return (ready, certificates)
    }

    /// Listeners that could not be opened, of a proxy that serves the rest.
    private var closedListeners: Int {
        let line = get("/stats?filter=listener_create_failure") ?? ""
        return Int(line.split(whereSeparator: \.isWhitespace).last ?? "") ?? 0
    }

    private func proxy(_ ready: String) -> Verdict {
        let word = ready.trimmingCharacters(in: .whitespacesAndNewlines)
        let closed = word == "LIVE" ? closedListeners : 0
        if closed > 0 {
            return .wrong(
                "\(closed) of its listeners cannot be opened",
                mend: "see http://\(admin)/config_dump for why, and end who else has their ports")
        }
        return word == "LIVE"
            ? .fine("serves, at \(admin)")
            : .wrong(
                "it says \(word)",
                mend: "see its log, `martinet status` at the control plane, and http://\(admin)/config_dump")
    }

    private func certificates(_ text: String) -> [Verdict] {
        guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
            let list = object["certificates"] as? [[String: Any]]
        else { return [.noted("the proxy's list of them cannot be read")] }
        let own = list.compactMap { ($0["cert_chain"] as? [[String: Any]])?.first }
        guard !own.isEmpty else {
            return [.noted("it has none: without --root-cert there is no identity")]
        }
        return own.map { leaf in
            let names =
                (leaf["subject_alt_names"] as? [[String: String]])?.flatMap(\.values).joined(separator: ", ") ?? ""
            let end = leaf["expiration_time"] as? String ?? ""
            let left = ISO8601DateFormatter().date(from: end).map { $0.timeIntervalSinceNow } ?? 0
            return left > 0
                ? .fine("\(names), until \(end)")
                : .wrong("\(names) has ended at \(end)", mend: "see the proxy's log for why it could not be renewed")
        }
    }

    /// A page of the proxy's admin interface; nil: nobody answers, or something else.
    private func get(_ path: String, answers: Set<Int> = [200]) -> String? {
        guard let colon = admin.lastIndex(of: ":") else { return nil }
        let host = admin[..<colon].filter { $0 != "[" && $0 != "]" }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(admin[admin.index(after: colon)...]), &hints, &found) == 0, let found else {
            return nil
        }
        defer { freeaddrinfo(found) }
        let descriptor = socket(found.pointee.ai_family, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: 3, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let request = Array("GET \(path) HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".utf8)
        guard connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0,
            send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
        else { return nil }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while bytes.count < 4 << 20 {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        // `HTTP/1.1 200 OK`
        let words = bytes.prefix { $0 != 0x0D }.split(separator: 0x20)
        guard words.count >= 2, let status = Int(String(decoding: words[1], as: UTF8.self)), answers.contains(status),
            let end = bytes.firstRange(of: Array("\r\n\r\n".utf8))
        else { return nil }
        return String(decoding: bytes[end.upperBound...], as: UTF8.self)
    }
}
