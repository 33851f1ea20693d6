import ArgumentParser

@main
struct Martinet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "martinet")
}
