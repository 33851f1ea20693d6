import Foundation
import Synchronization
import Testing

/// One `martinet proxy` in the place of another.
struct HandOverTests {
    /// Calls all the while: over a kept connection, which is opened anew when an answer said so, and over new ones.
    private final class Load: Sendable {
        private let state = Mutex((answers: 0, failures: [String](), isOver: false))
        private let running = DispatchGroup()

        init(port: Int) {
            for keeps in [true, false] {
                DispatchQueue.global().async(group: running) { [self] in
                    var connection: HTTPConnection?
                    while !state.withLock({ $0.isOver }) {
                        do {
                            if connection?.isOpen != true || !keeps {
                                connection = try HTTPConnection(address: "127.0.0.1", port: port, timeout: 10)
                            }
                            let call = HTTPConnection.Call(address: "127.0.0.1", port: port, host: "shop", path: "/")
                            guard let answer = try connection?.exchange(call) else { continue }
                            state.withLock {
                                $0.answers += 1
                                if answer.code != 200 || answer.body != "v1" { $0.failures.append("\(answer)") }
                            }
                        } catch {
                            state.withLock { $0.failures.append("\(error), kept: \(keeps)") }
                            connection = nil
                        }
                        usleep(2_000)
                    }
                }
            }
        }

        var answers: Int { state.withLock { $0.answers } }

        func finish() -> (answers: Int, failures: [String]) {
            state.withLock { $0.isOver = true }
            running.wait()
            return state.withLock { ($0.answers, $0.failures) }
        }
    }

    @Test func anotherTakesItsPlaceAndNoRequestFails() throws {
        let shop = try DataPlaneChoice.$current.withValue(.martinet) { try Shop(.delta) }
        let directory = shop.control.directory
        let (port, admin) = (try freePort(), try freePort())
        try shop.control.write(
            RawResources.listener("handed", port: port, routes: "shop"), to: "node-id=handed/listener.yaml")
        func start(as id: String, workers: Int) throws -> ChildProcess {
            let path = directory + "/hand-over-\(id)-\(workers).yaml"
            try bootstrap(id: id, xdsPort: shop.control.xdsPort).write(toFile: path, atomically: true, encoding: .utf8)
            return try ChildProcess(
                Installation.martinet,
                [
                    "proxy", "--bootstrap", path, "--hand-over", directory + "/place", "--admin", "127.0.0.1:\(admin)",
                    "--stats", "off", "--drain-time", "2s", "--concurrency", "\(workers)",
                ], in: directory)
        }
        func ready() throws -> Bool { try httpGet("http://127.0.0.1:\(admin)/ready").code == 200 }
        let first = try start(as: "handed", workers: 1)
        try eventually("the first to serve; \(first.log.suffix(1_000))") {
            try ready() && httpGet("http://127.0.0.1:\(port)/").body == "v1" ? true : nil
        }
        let socket = directory + "/place/hand-over.sock"
        #expect(try FileManager.default.attributesOfItem(atPath: socket)[.posixPermissions] as? Int == 0o600)

        let load = Load(port: port)
        try eventually("the load to begin") { load.answers > 20 ? true : nil }
        let other = try start(as: "stranger", workers: 1)
        try eventually("a stranger to be refused") { other.process.isRunning ? nil : true }
        #expect(other.process.terminationStatus == 1 && other.log.contains("does not give its place"), "\(other.log)")
        #expect(try ready())
        // With more workers, of which each wants a socket.
        let second = try start(as: "handed", workers: 2)
        try eventually("the first to end; \(first.log.suffix(1_000)) \(second.log.suffix(1_000))", within: 30) {
            first.process.isRunning ? nil : true
        }
        #expect(first.process.terminationStatus == 0, "\(first.log.suffix(1_000))")
        let third = try start(as: "handed", workers: 1)
        try eventually("the second to end; \(second.log.suffix(1_000)) \(third.log.suffix(1_000))", within: 30) {
            second.process.isRunning ? nil : true
        }
        let before = load.answers
        try eventually("the load to go on") { load.answers > before + 20 ? true : nil }
        let (answers, failures) = load.finish()
        #expect(failures.isEmpty, "\(failures.count) of \(answers): \(failures.prefix(5))")
        #expect(try ready())
        third.process.terminate()
        try eventually("the third to end") { third.process.isRunning ? nil : true }
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    private func bootstrap(id: String, xdsPort: Int) -> String {
        """
        node: { id: \(id), cluster: test }
        dynamic_resources:
          ads_config:
            api_type: DELTA_GRPC
            transport_api_version: V3
            grpc_services: [{ envoy_grpc: { cluster_name: martinet } }]
        static_resources:
          clusters:
            - name: martinet
              type: STATIC
              load_assignment:
                cluster_name: martinet
                endpoints:
                  - lb_endpoints:
                      - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: \(xdsPort) } } }
        """
    }
}
