import ArgumentParser

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() throws { Terminal.output.line("martinet \(martinetVersion)") }
}
