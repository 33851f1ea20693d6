import Foundation
import Testing

/// The files of the book shop: the ones that users of Istio have, where they lie beside the checkout, and our own,
/// which say the same.
enum BookinfoFiles: String, CaseIterable, CustomTestStringConvertible {
    case ours
    case istios

    /// Istio's where they are there.
    static let best: BookinfoFiles = istios.isThere ? .istios : .ours
    static let all = allCases.filter(\.isThere)

    var testDescription: String { rawValue }

    private var isThere: Bool { FileManager.default.fileExists(atPath: folder) }

    var folder: String {
        switch self {
        case .ours: Installation.root + "/Deploy/bookinfo"
        case .istios:
            URL(fileURLWithPath: Installation.root + "/../shared/samples/istio").standardizedFileURL.path
        }
    }

    /// A file by the name that it has in Istio's samples.
    func path(_ name: String) -> String {
        switch self {
        case .ours: folder + "/" + (name.hasPrefix("bookinfo/") ? String(name.dropFirst(9)) : name)
        case .istios: folder + "/" + name
        }
    }

    func paths(_ names: String...) -> [String] { names.map(path) }
}

/// The book shop on six workloads, as its Deployments say, and a gateway if it is wanted.
final class BookinfoMesh {
    let mesh: MeshOfEnvoys
    let files: BookinfoFiles

    static let gateway = MeshOfEnvoys.Workload(
        name: "istio-ingressgateway", namespace: "istio-system",
        serviceAccount: "istio-ingressgateway-service-account",
        labels: ["istio": "ingressgateway", "app": "istio-ingressgateway"])

    /// - Parameter further: files applied together with the application.
    init(
        _ files: BookinfoFiles = .best, reviews: [String] = ["v1", "v2", "v3"],
        gateways: [MeshOfEnvoys.Workload] = [], further: [String] = [], checksHealth: Bool = false
    ) throws {
        self.files = files
        func workload(_ service: String, _ version: String, isCalling: Bool = false, _ more: String...)
            -> MeshOfEnvoys.Workload
        {
            MeshOfEnvoys.Workload(
                name: "\(service)-\(version)", serviceAccount: "bookinfo-\(service)",
                labels: ["app": service, "version": version],
                application: [service, "--version", version] + more, isCalling: isCalling)
        }
        let workloads =
            [workload("productpage", "v1", isCalling: true), workload("details", "v1"), workload("ratings", "v1")]
            + reviews.map { workload("reviews", $0, isCalling: true, "--timeout", "10s") }
        mesh = try MeshOfEnvoys(workloads + gateways, checksHealth: checksHealth)
        try mesh.apply(files.paths("bookinfo/kube/bookinfo.yaml") + further.map(files.path))
        let (mesh, call) = (mesh, try mesh["productpage-v1"].call("reviews:9080", "/reviews/0"))
        let expected = Set(reviews)
        try eventually("every version of reviews to answer; \(mesh.state)", within: 40) {
            let tally = call.tally(30, connections: 2)
            return Set(tally.keys).isSubset(of: expected) ? true : nil
        }
    }

    func apply(_ names: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
        try mesh.apply(names.map(files.path), sourceLocation: sourceLocation)
    }

    /// What the product page calls.
    func reviews(as user: String? = nil) throws -> HTTPConnection.Call {
        try mesh["productpage-v1"].call(
            "reviews:9080", "/reviews/0", headers: user.map { ["end-user": $0] } ?? [:])
    }

    /// Who answers what the product page asks of reviews.
    func tally(_ count: Int, as user: String? = nil) throws -> [String: Int] {
        try reviews(as: user).tally(count)
    }

    /// The page, from the product page's application itself.
    func page(as user: String? = nil) throws -> HTTPConnection.Answer {
        let member = try mesh["productpage-v1"]
        return try HTTPConnection.exchange(
            HTTPConnection.Call(
                address: member.applicationAddress, port: 9080, host: "productpage:9080", path: "/productpage",
                headers: user.map { ["cookie": "bookinfo-user=\($0)"] } ?? [:], timeout: 30))
    }
}
