import ArgumentParser
import Foundation
import Hummingbird
import Logging

/// What every service of HTTP takes.
struct ServingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Where to take requests.", valueName: "address:port"))
    var listen = SocketPlace(host: "127.0.0.1", port: 9080)

    @Option(help: ArgumentHelp("The version that it says it is.", valueName: "version"))
    var version = "v1"

    @Option(help: ArgumentHelp("The pod that it says it is; its name and version by default.", valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp("Fail this share of the requests with 503, 0 to 1.", valueName: "share"))
    var failRate = 0.0

    @Option(help: ArgumentHelp("Hold every answer back so long: 2s, 300ms.", valueName: "duration"))
    var delay = DelayArgument(.zero)

    func validate() throws {
        guard (0...1).contains(failRate) else { throw ValidationError("--fail-rate is a share from 0 to 1") }
    }

    /// Serves until SIGTERM or SIGINT, then answers what is under way and ends.
    func serve(_ service: String, routes: (Router<BasicRequestContext>, Replica) -> Void) async throws {
        let replica = Replica(
            service: service, version: version, pod: name ?? "\(service)-\(version)",
            trouble: Trouble(rate: failRate, delay: delay.duration))
        let router = Router()
        router.add(middleware: TroubleMiddleware(replica: replica))
        replica.trouble.addRoutes(to: router)
        routes(router, replica)
        var logger = Logger(label: service)
        logger.logLevel = .error
        let application = Application(
            router: router, configuration: .init(address: .hostname(listen.host, port: listen.port)),
            onServerRunning: { _ in tell("\(replica.pod) serves on \(listen)") }, logger: logger)
        try await application.runService()
    }
}

/// One running copy of a service, as it signs its answers.
struct Replica: Sendable {
    var service: String
    var version: String
    var pod: String
    var trouble: Trouble
}

/// Where the mesh takes calls that go out, and what is passed on with them.
struct CallingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Connect to this address for every call, whatever its host: where a sidecar takes outgoing calls.",
            valueName: "address"))
    var through: String?

    @Option(help: ArgumentHelp("The header that names the signed-in user.", valueName: "header"))
    var userHeader = "end-user"

    @Option(help: ArgumentHelp("How long to wait for the answer to a call.", valueName: "duration"))
    var timeout = DelayArgument(.seconds(3))

    /// A caller that passes on the headers of a request.
    func caller(for request: Request) -> ForwardingCaller {
        ForwardingCaller(
            through: through, timeout: timeout.duration,
            forwarded: ForwardedHeaders(of: request.headers, userHeader: userHeader))
    }
}

/// `address:port`; an IPv6 address in brackets.
struct SocketPlace: ExpressibleByArgument, Sendable, Hashable, CustomStringConvertible {
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = Int(argument[argument.index(after: colon)...]),
            (0...65_535).contains(port)
        else { return nil }
        var host = argument[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.init(host: String(host), port: port)
    }

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// `http://host[:port]`.
struct ServiceURL: ExpressibleByArgument, Sendable, CustomStringConvertible {
    var place: SocketPlace

    init(_ host: String, _ port: Int) { place = SocketPlace(host: host, port: port) }

    init?(argument: String) {
        guard argument.hasPrefix("http://") else { return nil }
        let rest = argument.dropFirst(7).prefix { $0 != "/" }
        let text = rest.contains(":") && !rest.hasSuffix("]") ? String(rest) : rest + ":80"
        guard let place = SocketPlace(argument: text) else { return nil }
        self.place = place
    }

    var description: String { "http://\(place)" }
}

/// `2s`, `300ms`, `0s`.
struct DelayArgument: ExpressibleByArgument, Sendable, CustomStringConvertible {
    var duration: Duration

    init(_ duration: Duration) { self.duration = duration }

    init?(argument: String) {
        if argument.hasSuffix("ms"), let count = Int(argument.dropLast(2)), count >= 0 {
            duration = .milliseconds(count)
        } else if argument.hasSuffix("s"), let count = Double(argument.dropLast()), count >= 0, count < 86_400 {
            duration = .seconds(count)
        } else {
            return nil
        }
    }

    var description: String { duration == .zero ? "0s" : "\(duration / .milliseconds(1))ms" }
}

/// A line on standard output, at once, wherever that leads.
func tell(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
