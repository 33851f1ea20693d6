import Glibc
import Identity
import Mesh
import Time
import Translation
import XDS

/// `martinet-bench mesh`: from objects to the snapshots of every view, and from one change to the views that it
/// touches. One thread; nothing is sent.
struct MeshTranslating {
    private let settings: TranslationSettings
    private var isHeld = true

    init() throws {
        settings = TranslationSettings(trustDomain: try TrustDomain("cluster.local"))
    }

    /// - Returns: whether the bars hold.
    mutating func run() throws -> Bool {
        print(
            "Processor time of one thread. Every service has port 80 (HTTP), so that all share one route configuration."
        )
        _ = try whole(services: 1000, endpoints: 20, namespaces: 10, views: 2000, limit: 2)
        let small = try whole(services: 100, endpoints: 10, namespaces: 10, views: 500, limit: nil)
        let large = try whole(services: 10_000, endpoints: 10, namespaces: 100, views: 500, limit: 20)
        let memory = peakMegabytes()
        bar("peak memory of this process", "\(memory) MB", memory < 4096, "under 4 GB")
        let ratio = large / small
        bar(
            "one endpoint: 10,000 services against 100", "\(hundredths(ratio)) times", ratio <= 1.5, "at most 1.5 times"
        )
        bar("one endpoint among 10,000 services", "\(Int(large)) us", large < 2000, "under 2 ms")
        return isHeld
    }

    /// - Returns: microseconds that one changed endpoint takes.
    private mutating func whole(
        services: Int, endpoints: Int, namespaces: Int, views: Int, limit: Double?
    ) throws -> Double {
        let objects = try (0..<services).flatMap { number in
            [try service(number, namespaces), try slice(number, namespaces, endpoints, first: 1)]
        }
        let proxies = (0..<views).map { number in
            ProxyClass(
                namespace: "ns-\(number % namespaces)",
                labels: ["app": "svc-\(number % services)", "view": "\(number)"])
        }
        let start = processorMicroseconds()
        let index = MeshIndex(objects)
        let indexed = processorMicroseconds()
        var translation = MeshTranslation(settings: settings, index: index)
        let made = translation.add(proxies)
        let end = processorMicroseconds()
        let seconds = (end - start) / 1e6
        let title = "\(services) services of \(endpoints) endpoints, \(views) views"
        let counts = made.made.sorted { $0.key < $1.key }.map { "\($0.key.rawValue) \($0.value)" }
        print("\(title): index \(Int((indexed - start) / 1000)) ms; made \(counts.joined(separator: ", "))")
        let words = "\(hundredths(seconds)) s"
        if let limit {
            bar(title, words, seconds < limit, "under \(Int(limit)) s")
        } else {
            print("  \(title): \(words)")
        }
        let endpoint = try changes(of: &translation, "endpoint") { round in
            try slice(round % 7, namespaces, endpoints, first: 2 + round % 2)
        }
        _ = try changes(of: &translation, "VirtualService") { round in
            try object(
                """
                {"apiVersion":"networking.istio.io/v1","kind":"VirtualService",
                "metadata":{"name":"svc-1","namespace":"ns-\(1 % namespaces)"},"spec":{"hosts":["svc-1"],
                "http":[{"timeout":"\(1 + round % 2)s","route":[{"destination":{"host":"svc-1"}}]}]}}
                """)
        }
        return endpoint
    }

    /// - Returns: the median of the rounds, in microseconds.
    private func changes(
        of translation: inout MeshTranslation, _ what: String, _ make: (Int) throws -> MeshObject
    ) throws -> Double {
        var times: [Double] = []
        var last: ViewChanges?
        var told: (version: UInt64, warnings: [MeshFinding]) = (0, [])
        for round in 0..<(what == "endpoint" ? 101 : 11) {
            let change = MeshIndex.Change.put(try make(round))
            let start = processorMicroseconds()
            var next = translation.index
            next.apply(change)
            last = translation.follow(next, changes: [change])
            // As the control plane does after each change.
            if translation.warningsVersion != told.version {
                told = (translation.warningsVersion, translation.warnings)
            }
            times.append(processorMicroseconds() - start)
        }
        let median = times.sorted()[times.count / 2]
        let counts = (last?.made ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key.rawValue) \($0.value)" }
        print(
            "  one \(what): \(Int(median)) us; \(last?.views.count ?? 0) views; made \(counts.joined(separator: ", "))")
        return median
    }

    // MARK: Objects

    private func service(_ number: Int, _ namespaces: Int) throws -> MeshObject {
        try object(
            """
            {"apiVersion":"v1","kind":"Service","metadata":{"name":"svc-\(number)","namespace":"ns-\(number % namespaces)"},
            "spec":{"clusterIP":"10.\(96 + number >> 16).\(number >> 8 & 255).\(number & 255)",
            "selector":{"app":"svc-\(number)"},"ports":[{"name":"http","port":80,"targetPort":8080}]}}
            """)
    }

    private func slice(_ number: Int, _ namespaces: Int, _ endpoints: Int, first: Int) throws -> MeshObject {
        let list = (0..<endpoints).map { "{\"addresses\":[\"10.\(number >> 8).\(number & 255).\(first + $0)\"]}" }
        return try object(
            """
            {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"svc-\(number)-a",
            "namespace":"ns-\(number % namespaces)","labels":{"kubernetes.io/service-name":"svc-\(number)"}},
            "addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[\(list.joined(separator: ","))]}
            """)
    }

    private struct NoObject: Error {}

    private func object(_ text: String) throws -> MeshObject {
        guard let object = try ObjectText(Array(text.utf8)).objects.first else { throw NoObject() }
        return object
    }

    // MARK: Figures

    private mutating func bar(_ title: String, _ figure: String, _ holds: Bool, _ words: String) {
        print("  \(title): \(figure) (bar: \(words))\(holds ? "" : "  NOT HELD")")
        if !holds { isHeld = false }
    }

    private func hundredths(_ figure: Double) -> String {
        let whole = Int((figure * 100).rounded())
        return "\(whole / 100).\(whole % 100 < 10 ? "0" : "")\(whole % 100)"
    }

    private func processorMicroseconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }

    private func peakMegabytes() -> Int {
        var usage = rusage()
        getrusage(0, &usage)
        return Int(usage.ru_maxrss) / 1024
    }
}
