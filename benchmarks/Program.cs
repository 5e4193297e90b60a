using AttnCompose.Benchmarks;
using BenchmarkDotNet.Running;

if (args is ["peak", ..])
    return PeakReport.Run(args[1..]);
if (args is ["tsa", ..])
    return TokenSparseReport.Run(args[1..]);

BenchmarkSwitcher.FromAssembly(typeof(PeakReport).Assembly).Run(args);
return 0;
